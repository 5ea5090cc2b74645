"""Batches: padded size within the budget, every text once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.scoring.batches import plan_batches


@settings(max_examples=150)
@given(st.lists(st.integers(0, 600), max_size=60), st.integers(1, 4000), st.integers(1, 64))
def test_every_text_is_in_one_batch_and_no_batch_exceeds_the_budget(
    lengths: list[int], budget: int, multiple: int
) -> None:
    batches = plan_batches(lengths, budget=budget, multiple=multiple)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert batch
        longest = max(1, *(lengths[i] for i in batch))
        padded = (longest + multiple - 1) // multiple * multiple
        assert len(batch) * padded <= budget or len(batch) == 1


def test_texts_of_like_length_stand_together() -> None:
    assert plan_batches([250, 3, 250, 3, 3], budget=512) == [[1, 3, 4], [0, 2]]


def test_a_batch_is_filled_before_another_begins() -> None:
    assert [len(batch) for batch in plan_batches([16] * 100, budget=16 * 40)] == [40, 40, 20]
