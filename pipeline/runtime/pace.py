"""Pace: how many items a step takes, so that no step takes long.

Large slices are cheap where items are cheap; where each costs a forward pass, a large slice would hold up
checkpoints, surges and a stop for many seconds. Where slices are cut changes no result. Pure.
"""

from __future__ import annotations

#: Seconds that a step should take at the most, and below which the next may be larger.
LONG_S, SHORT_S = 0.5, 0.2
#: The first step of a process, and the smallest: some dozens make a full batch of the classifier.
FIRST_ITEMS, LEAST_ITEMS = 512, 64


def next_items(items: int, folded: int, took_s: float, most: int, *, least: int = LEAST_ITEMS) -> int:
    """How many items the next step may take, after one that was allowed `items`, got `folded` and took so long."""
    if took_s > LONG_S:
        return max(least, min(items, folded) // 2)
    if took_s < SHORT_S and folded >= items:
        return min(most, items * 2)
    return items
