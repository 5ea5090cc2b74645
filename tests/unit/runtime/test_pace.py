"""Pace: how many items a step takes."""

from __future__ import annotations

from pipeline.runtime.pace import LEAST_ITEMS, next_items


def test_quick_full_steps_grow_to_the_most_that_is_allowed() -> None:
    items = 512
    for _ in range(10):
        items = next_items(items, items, 0.01, 4096)
    assert items == 4096


def test_a_step_that_took_long_is_followed_by_half_of_it() -> None:
    assert next_items(4096, 4096, 8.0, 4096) == 2048
    assert next_items(4096, 300, 0.6, 4096) == 150


def test_a_quick_step_that_was_not_full_says_nothing() -> None:
    assert next_items(512, 3, 0.001, 4096) == 512


def test_steps_never_get_too_small_to_fill_a_batch() -> None:
    assert next_items(LEAST_ITEMS, LEAST_ITEMS, 60.0, 4096) == LEAST_ITEMS
