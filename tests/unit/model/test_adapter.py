"""Changes of the base: merged, one after the other, and only where they fit."""

from __future__ import annotations

import numpy as np
import pytest

from model.adapter import Adapter, Weights
from pipeline.errors import ModelError

DRAW = np.random.default_rng(0)


def _base() -> Weights:
    return {name: np.ones((4, 6), np.float32) for name in ("a", "b", "c")}


def _low(rank: int) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.float32]], ...]:
    return DRAW.normal(size=(rank, 6)).astype(np.float32), DRAW.normal(size=(4, rank)).astype(np.float32)


def _adapter(low: dict[str, int], *whole: str) -> Adapter:
    return Adapter(
        {name: _low(rank) for name, rank in low.items()},  # type: ignore[misc]
        {name: DRAW.normal(size=(4, 6)).astype(np.float32) for name in whole},
    )


@pytest.mark.parametrize(
    ("first", "later"),
    [
        (_adapter({"a": 2}), _adapter({"a": 3, "b": 1})),
        (_adapter({"a": 2}, "b"), _adapter({"b": 2})),
        (_adapter({}), _adapter({"a": 1}, "c")),
        (_adapter({"a": 1}, "c"), _adapter({})),
    ],
    ids=["low on low", "low on whole", "on nothing", "nothing more"],
)
def test_two_changes_as_one_are_the_one_after_the_other(first: Adapter, later: Adapter) -> None:
    together, after = first.followed_by(later).merged(_base()), later.merged(first.merged(_base()))
    for name, weight in after.items():
        assert np.allclose(together[name], weight, atol=1e-5)


def test_a_weight_learned_whole_takes_the_place_of_what_was_changed_before() -> None:
    first, later = _adapter({"a": 2}, "b"), _adapter({}, "a", "b")
    both = first.followed_by(later)
    assert np.array_equal(both.merged(_base())["a"], later.whole["a"])
    assert np.array_equal(both.merged(_base())["b"], later.whole["b"])
    assert "a" not in both.low_rank


def test_a_change_that_fits_no_weight_is_refused() -> None:
    for adapter in (Adapter({"d": _low(1)}), Adapter({}, {"a": np.ones((6, 4), np.float32)})):  # type: ignore[dict-item]
        with pytest.raises(ModelError, match="does not fit the base"):
            adapter.merged(_base())


def test_no_change_leaves_the_base_as_it_is() -> None:
    none = Adapter().followed_by(Adapter())
    assert not list(none.tensors())
    assert {name: weight.tolist() for name, weight in none.merged(_base()).items()} == {
        name: weight.tolist() for name, weight in _base().items()
    }
