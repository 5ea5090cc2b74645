"""Which words one set of texts says more often than another.

The log-odds ratio with an informative Dirichlet prior (Monroe, Colaresi and Quinn 2008, "Fightin' Words", section 3:
equation 16 for the log-odds ratio, 20 for its variance, 22 for its z-score). The prior is what both sets say together,
so that a word which was seen once or twice is pulled to what is usual. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

#: How much the prior weighs: this part of what both sets say. A small surge beside a long past is what it must suit:
#: with all of it a word that multiplied is drowned, with next to none no new word ever stands out.
PRIOR = 0.1
#: A z-score below this is what chance gives (95 %, two-sided). A word of a single text never reaches it.
LEAST_Z = 1.96


class Word(NamedTuple):
    """A word that stands out: the number of texts here and in the baseline that say it, and its z-score."""

    word: str
    here: int
    baseline: int
    z: float


def log_odds_z(here: int, here_all: int, baseline: int, baseline_all: int) -> float:
    """The z-score of one word's log-odds ratio: above 0 when it is said more often here.

    `here` and `baseline` count the word, `here_all` and `baseline_all` all words. 0 for a word that nobody says, and
    where there is no other word.
    """
    if not 0 < here + baseline < here_all + baseline_all:
        return 0.0
    prior, prior_all = PRIOR * (here + baseline), PRIOR * (here_all + baseline_all)
    first, second = here + prior, baseline + prior
    ratio = math.log(first / (here_all + prior_all - first)) - math.log(second / (baseline_all + prior_all - second))
    return ratio / math.sqrt(1 / first + 1 / second)


def over_represented(
    here: Mapping[str, int], baseline: Mapping[str, int], baseline_all: int, *, most: int
) -> list[Word]:
    """The `most` words that stand out here against the baseline, by z-score (rounded to two digits), then by name.

    `here` counts, for each word, the texts that say it; `baseline` the same for at least the words of `here`, and
    `baseline_all` is its sum over all words. Without a baseline nothing stands out.
    """
    here_all = sum(here.values())
    found = []
    for word, count in here.items():
        before = baseline.get(word, 0)
        z = log_odds_z(count, here_all, before, baseline_all)
        if z >= LEAST_Z:
            found.append(Word(word, count, before, round(z, 2)))
    return sorted(found, key=lambda one: (-one.z, one.word))[:most]
