"""The head: from the means of the last layers to a logit of "bad".

Numpy only, so that every engine shares its arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Head:
    """One hidden layer of rectified units: `inner` (d, h), `inner_bias` (h), `outer` (h), `outer_bias` ()."""

    inner: Floats
    inner_bias: Floats
    outer: Floats
    outer_bias: Floats

    def logits(self, means: Floats) -> Floats:
        """Logits (n) of means (n, layers, width) with layers * width = d, before calibration."""
        hidden = np.maximum(means.reshape(len(means), -1) @ self.inner + self.inner_bias, 0)
        return np.asarray(hidden @ self.outer + self.outer_bias, np.float32)


def averaged(heads: Sequence[Head]) -> Head:
    """One head whose logit is the mean of theirs."""
    return Head(
        np.concatenate([head.inner for head in heads], axis=1),
        np.concatenate([head.inner_bias for head in heads]),
        np.asarray(np.concatenate([head.outer for head in heads]) / len(heads), np.float32),
        np.asarray(np.mean([head.outer_bias for head in heads]), np.float32),
    )
