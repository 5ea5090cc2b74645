"""A replay held beside live: equal, equal in what is kept, or different."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.detect.digest import digest
from pipeline.instants import MINUTE_US
from pipeline.records import Transition
from pipeline.runtime.comparison import compare

Surge = Callable[..., Transition]


def test_the_same_transitions_are_equal(surge: Surge) -> None:
    both = [surge(), surge(sequence=2, state="resolved")]
    compared = compare(both, both[::-1], kept_since_us=0)
    assert (compared.verdict, compared.live) == ("equal", digest(both))


@pytest.mark.parametrize(("younger_us", "verdict"), [(1, "kept"), (0, "different")])
def test_live_may_lack_what_is_older_than_the_database_keeps(surge: Surge, younger_us: int, verdict: str) -> None:
    old, young = surge(), surge(sequence=2, tick_us=surge().tick_us + MINUTE_US)
    compared = compare([old, young], [young], kept_since_us=old.tick_us + younger_us)
    assert compared.verdict == verdict


def test_what_live_says_otherwise_is_different_however_old(surge: Surge) -> None:
    late_us = surge().tick_us + MINUTE_US
    assert compare([surge()], [surge(observed=31)], kept_since_us=late_us).verdict == "different"
    assert compare([], [surge()], kept_since_us=late_us).verdict == "different"
