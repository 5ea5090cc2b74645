"""Augmentation changes names and numbers, and never what decides."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.training.augment import augmented


def _many(text: str, times: int = 300) -> set[str]:
    draw = np.random.default_rng(0)
    return {augmented(text, draw) for _ in range(times)}


@given(text=st.text(), seed=st.integers(0, 50))
def test_no_text_raises_or_becomes_empty(text: str, seed: int) -> None:
    found = augmented(text, np.random.default_rng(seed))
    assert bool(found.strip()) >= bool(text.strip())


@given(text=st.text(), seed=st.integers(0, 50))
def test_the_same_draw_gives_the_same_text(text: str, seed: int) -> None:
    one, other = (augmented(text, np.random.default_rng(seed)) for _ in range(2))
    assert one == other


def test_numbers_and_names_change_and_the_text_as_it_is_comes_most() -> None:
    found = _many("Outbreak in Guinea kills 14 people")
    assert "Outbreak in Guinea kills 14 people" in found
    assert any("Name" in text and "Guinea" not in text for text in found)
    assert len({text for text in found if text.startswith("Outbreak in Guinea kills ")}) > 3


def test_what_negates_or_turns_a_text_is_never_left_out() -> None:
    for text in _many("not one case since May, outbreak over, warning lifted"):
        assert {"not", "over,", "lifted"} <= set(text.split())


def test_words_are_left_out_now_and_then_and_not_many() -> None:
    text = "the harbour was closed for nine hours after a crane had fallen onto the quay"
    numbers = {len(found.split()) for found in _many(text)}
    assert max(numbers) == len(text.split())
    assert len(text.split()) / 2 < min(numbers) < max(numbers)


def test_upper_case_and_titles_keep_their_names() -> None:
    for text in ("BANK OF ALBION FAILS", "Bank Of Albion Fails"):
        assert not any("Name" in found for found in _many(text))


def test_parts_of_a_program_are_masked_in_templates_and_nowhere_else() -> None:
    found = _many("dfs.DataNode$Server: error in blockMap for <*>, giving up")
    assert any(text == "<*>: error in <*> for <*>, giving up" for text in found)
    assert any("dfs.DataNode$Server" in text for text in found)
    assert all("<*>" not in text for text in _many("the iPhone of example.com sells well"))
