"""Batches of token ids as rectangles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.tokenizing import PAD

#: Lengths are rounded up to this: few different shapes are ever compiled, and tiles of AMX are filled.
STEP = 16


def padded(batch: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    """Ids (n, length), filled up with `PAD`; length is a multiple of `STEP`. The batch must not be empty."""
    longest = max(map(len, batch))
    ids = np.full((len(batch), -(-longest // STEP) * STEP), PAD, np.int32)
    for row, tokens in zip(ids, batch, strict=True):
        row[: len(tokens)] = tokens
    return ids
