"""Batches mixed over sources: shares, weights, and that nothing is left out."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.training.sampling import MixedBatches, by_length

SIZES = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 40), min_size=1)


def _sources(sizes: dict[str, int]) -> list[str]:
    return [name for name, size in sizes.items() for _ in range(size)]


def _drawn(batches: MixedBatches, epoch: int = 0, steps: int = 10) -> list[int]:
    return [int(row) for rows in batches.epoch(epoch, steps) for row in rows]


@given(sizes=SIZES, batch=st.integers(1, 16), steps=st.integers(1, 12), seed=st.integers(0, 5))
def test_each_source_has_its_share_to_within_a_row(sizes: dict[str, int], batch: int, steps: int, seed: int) -> None:
    sources = _sources(sizes)
    shares = {name: float(place) for place, name in enumerate(sizes, 1)}
    batches = MixedBatches(sources, np.ones(len(sources)), shares, batch=batch, seed=seed)
    found = Counter(sources[row] for row in _drawn(batches, 0, steps))
    assert found.total() == batch * steps
    for name, share in shares.items():
        assert abs(found[name] - share / sum(shares.values()) * batch * steps) <= len(sizes)


@given(sizes=SIZES, seed=st.integers(0, 5))
def test_every_row_comes_before_one_comes_again(sizes: dict[str, int], seed: int) -> None:
    sources = _sources(sizes)
    batches = MixedBatches(sources, np.ones(len(sources)), dict.fromkeys(sizes, 1.0), batch=8, seed=seed)
    times = Counter(_drawn(batches))
    for name in sizes:
        of_source = [times[row] for row, source in enumerate(sources) if source == name]
        assert max(of_source) - min(of_source) <= 1


@given(weights=st.lists(st.integers(0, 5), min_size=1, max_size=20).filter(any), seed=st.integers(0, 5))
def test_a_row_comes_as_often_as_its_weight_says(weights: list[int], seed: int) -> None:
    batches = MixedBatches(["a"] * len(weights), np.array(weights, float), {}, batch=10, seed=seed)
    times = Counter(_drawn(batches, steps=8))
    for row, weight in enumerate(weights):
        assert abs(times[row] - 80 * weight / sum(weights)) <= 1


@given(sizes=SIZES, seed=st.integers(0, 5), epoch=st.integers(0, 5))
def test_the_same_seed_and_epoch_give_the_same_batches(sizes: dict[str, int], seed: int, epoch: int) -> None:
    sources = _sources(sizes)
    one, other = (
        MixedBatches(sources, np.ones(len(sources)), {}, batch=4, seed=seed).epoch(epoch, 3) for _ in range(2)
    )
    assert np.array_equal(one, other)


def test_another_seed_or_epoch_gives_other_batches() -> None:
    first = MixedBatches(["a"] * 50, np.ones(50), {}, batch=10, seed=1)
    second = MixedBatches(["a"] * 50, np.ones(50), {}, batch=10, seed=2)
    assert len({tuple(_drawn(batches, epoch, 2)) for batches in (first, second) for epoch in (0, 1)}) == 4


def test_a_source_is_dealt_out_evenly_over_the_steps() -> None:
    sources = ["many"] * 300 + ["few"] * 30
    batches = MixedBatches(sources, np.ones(330), {"many": 0.75, "few": 0.25}, batch=16, seed=0)
    for rows in batches.epoch(0, 20):
        assert 2 <= sum(sources[row] == "few" for row in rows) <= 6


def test_a_source_without_a_share_has_as_much_as_it_has_rows() -> None:
    sources = ["a"] * 30 + ["b"] * 10
    found = Counter(sources[row] for row in _drawn(MixedBatches(sources, np.ones(40), {}, batch=8, seed=0)))
    assert found == {"a": 60, "b": 20}


@pytest.mark.parametrize(("sources", "weights"), [([], []), (["a"], [0.0])])
def test_nothing_to_train_on_is_said(sources: list[str], weights: list[float]) -> None:
    with pytest.raises(ValueError, match="nothing to train on"):
        MixedBatches(sources, np.array(weights), {}, batch=4, seed=0)


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=30), parts=st.integers(1, 6))
def test_parts_of_a_step_hold_every_row_once_in_order_of_length(lengths: list[int], parts: int) -> None:
    rows = np.arange(len(lengths))
    found = list(by_length(rows, np.array(lengths), parts))
    assert sorted(int(row) for part in found for row in part) == list(rows)
    assert [lengths[row] for part in found for row in part] == sorted(lengths)
