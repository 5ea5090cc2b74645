"""Rounds: who is compared takes turns, so that what else the machine does falls on all of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from pipeline.errors import ModelError
from pipeline.scoring.scored import is_bad


def rounds(texts: Sequence[str], count: int) -> Iterator[Sequence[str]]:
    """The texts in `count` consecutive parts of nearly one size, none empty; fewer where there are fewer texts."""
    count = min(count, len(texts))
    borders = [len(texts) * i // count for i in range(count + 1)]
    for start, end in pairwise(borders):
        yield texts[start:end]


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over rounds of our rate divided by theirs in the same round."""
    return median(one / other for one, other in zip(ours, theirs, strict=True))


def flips_per_1000(probabilities: Sequence[float], reference: Sequence[float]) -> float:
    """How many of 1,000 labels differ. Raises ModelError when a probability is none."""
    if not all(0 <= p <= 1 for p in (*probabilities, *reference)):
        raise ModelError("an engine gave a score that is no probability: run `tocsin doctor`")
    flips = sum(is_bad(p) != is_bad(q) for p, q in zip(probabilities, reference, strict=True))
    return 1000 * flips / max(1, len(reference))


def largest_change(probabilities: Sequence[float], reference: Sequence[float]) -> float:
    """The largest difference between two probabilities of one text."""
    return max((math.fabs(p - q) for p, q in zip(probabilities, reference, strict=True)), default=0.0)
