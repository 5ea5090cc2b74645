"""The encoder on OpenVINO: what it holds in memory."""

from __future__ import annotations

import os
from pathlib import Path

from model.base import find_base
from model.engines.openvino_engine import OpenVinoEncoder

#: What a batch of a new shape may add, in bytes. By OpenVINO's own limit it adds .5 MB.
_MOST_FOR_A_SHAPE = 350_000


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_does_not_grow_with_every_new_shape_of_a_batch() -> None:
    base = find_base()
    encoder = OpenVinoEncoder(base, base.load(), threads=1)
    encoder.means([[2000] * 64] * 8)

    def batches_of(rows: range) -> int:
        shapes = [(count, length) for count in rows for length in range(3, 43)]
        for count, length in shapes:
            encoder.means([[2000] * length] * count)
        return len(shapes)

    batches_of(range(1, 5))
    before = _resident()
    shapes = batches_of(range(5, 9))
    assert (_resident() - before) / shapes < _MOST_FOR_A_SHAPE
