"""Batches of token ids as rectangles, of few different shapes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.tokenizing import PAD

#: Lengths are rounded up to this: few different shapes are ever compiled, and tiles of AMX are filled.
STEP = 16

#: What stands in rows that hold no text, so that their means are defined: [CLS] in BERT's vocabulary.
_SOMETHING = 101


def padded(batch: Sequence[Sequence[int]], *, rows: int = 0, step: int = STEP) -> NDArray[np.int32]:
    """Ids (n, length), filled up with `PAD`; length is a multiple of `step`. The batch must not be empty.

    `rows`: as many rows at least, the additional ones with one token each.
    """
    longest = max(map(len, batch))
    ids = np.full((max(len(batch), rows), -(-longest // step) * step), PAD, np.int32)
    for row, tokens in zip(ids, batch, strict=False):
        row[: len(tokens)] = tokens
    ids[len(batch) :, 0] = _SOMETHING
    return ids


def rows_bucket(rows: int) -> int:
    """The least number of rows from `rows` on that is at most 8, or 9 to 16 times a power of two: so few different
    ones come up, and at most an eighth of a batch is padding."""
    step = 1 << max(0, (rows - 1).bit_length() - 4)
    return -(-rows // step) * step
