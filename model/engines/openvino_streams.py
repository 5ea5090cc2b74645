"""Streams: pieces of batches on all cores at once, each core with a piece of its own.

Cores that share one piece wait for each other after every operation. A core with a piece of its own waits for nobody,
finds it in its cache, and pads it to its own longest text. On two cores: 1.4 times as many texts a second as with one
batch of 16,384 tokens on both (docs/performance.md).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from model.engines.padding import padded
from pipeline.scoring.batches import plan_batches

#: Padded tokens in one piece.
PIECE_TOKENS = 2048

#: Pieces begun for each stream before the oldest is fetched: one computes, one waits for the stream to be free.
_BEGUN = 2


class _Begun(NamedTuple):
    request: Any
    result: NDArray[np.float32]
    rows: list[int]
    completes: bool


class Streams:
    """A compiled graph of ids (n, length) -> float32 (n, ...), on its streams. Not for use by several threads at once,
    and for one call of `run` at a time."""

    def __init__(self, compiled: ov.CompiledModel, shape: tuple[int, ...]) -> None:
        """`shape` of the result for one text."""
        streams: int = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._requests = [compiled.create_infer_request() for _ in range(_BEGUN * streams)]
        self._shape = shape

    def run(self, batches: Iterable[Sequence[Sequence[int]]]) -> Iterator[NDArray[np.float32]]:
        """The result of each batch, rows in its order. The next batches are begun before the first is handed out.

        Raises RuntimeError when OpenVINO cannot run a piece.
        """
        idle = list(self._requests)
        begun: deque[_Begun] = deque()  # pieces end in the order in which they begin, or nearly: fetched in it
        try:
            for batch in batches:
                result = np.empty((len(batch), *self._shape), np.float32)
                pieces = plan_batches([len(tokens) for tokens in batch], budget=PIECE_TOKENS, multiple=1)
                for number, rows in enumerate(pieces, 1):
                    if not idle:
                        yield from _fetched(begun, idle)
                    request = idle.pop()
                    request.start_async({0: padded([batch[i] for i in rows], step=1)})
                    begun.append(_Begun(request, result, rows, number == len(pieces)))
            while begun:
                yield from _fetched(begun, idle)
        finally:
            for left in begun:
                left.request.wait()


def _fetched(begun: deque[_Begun], idle: list[Any]) -> Iterator[NDArray[np.float32]]:
    """Fetch the oldest piece; the result of its batch, if that is complete now."""
    piece = begun.popleft()
    piece.request.wait()
    piece.result[piece.rows] = piece.request.get_output_tensor(0).data
    idle.append(piece.request)
    if piece.completes:
        yield piece.result
