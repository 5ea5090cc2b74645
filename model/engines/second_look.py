"""A second look at what is nearly undecided: in fp32, where an engine computes with fewer bits.

bf16 moves a probability by a few thousandths. That changes a label only where the probability is next to the threshold,
and there the text is scored once more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.scoring.engine import Tokens
from pipeline.scoring.scored import THRESHOLD

#: A text whose probability is nearer than this to the threshold is looked at again.
MARGIN = 0.02

#: Probabilities (n) of a batch of n texts, in fp32.
Exact = Callable[[Sequence[Tokens]], NDArray[np.float64]]


def looked_at_again(probabilities: NDArray[np.float64], batch: Sequence[Tokens], exact: Exact) -> NDArray[np.float64]:
    """The probabilities (n) of a batch, with those near the threshold computed again."""
    near = np.flatnonzero(np.abs(probabilities - THRESHOLD) < MARGIN)
    if not len(near):
        return probabilities
    result = probabilities.copy()
    result[near] = exact([batch[row] for row in near.tolist()])
    return result
