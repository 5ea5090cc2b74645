"""False-alarm control: Benjamini and Hochberg (1995) over all keys that a tick tests."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.streams import Definition, tick_share_of_week

#: Keys with a larger p-value stay in their bucket: false-alarm control would hardly ever take one.
P_MAX = 0.05


def level(definition: Definition) -> float:
    """The level of a stream's ticks: `q` bounds the share of false ones among alarms, the budget of false alarms
    a week bounds their number while nothing happens."""
    return min(definition.q, definition.false_alarms_a_week * tick_share_of_week(definition))


def cut(p_values: Iterable[float], tested: int, level: float) -> float:
    """The greatest p-value that is an alarm; -1 when none is.

    `p_values` are those that may be alarms, `tested` counts them and all greater ones that were left out. The
    k-th smallest is an alarm when it, or a greater one, is at most level * k / tested."""
    found = -1.0
    for rank, p in enumerate(sorted(p_values), start=1):
        if p * tested <= level * rank:
            found = p
    return found
