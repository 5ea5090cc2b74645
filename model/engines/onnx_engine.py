"""The encoder on onnxruntime, in 8 bits: for a CPU where OpenVINO is not installed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from model.adapter import Weights
from model.base import DEPTH, Base
from model.engines.onnx_graph import Precision, build
from model.engines.padding import padded
from pipeline.errors import ModelError
from pipeline.scoring.batches import plan_batches

#: Padded tokens in one pass. With 16,384 a process holds 1.7 GB instead of 1.0, and is no faster.
PIECE_TOKENS = 4096

_ONLY_ERRORS = 3


class OnnxEncoder:
    """Runs batches on the CPU, products with weights in 8 bits."""

    name = "onnxruntime"

    def __init__(
        self, base: Base, weights: Weights, threads: int | None = None, *, precision: Precision = "int8"
    ) -> None:
        """`weights` of the encoder, shaped as `base` says; `threads`: how many the inference may use, None leaves that
        to onnxruntime. Raises ModelError."""
        self.precision: str = precision
        self._hidden = base.hidden
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ONLY_ERRORS
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            graph = build(base, weights, precision).SerializeToString()
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        # onnxruntime's own errors have no common class below Exception.
        except Exception as error:
            raise ModelError(f"onnxruntime cannot run the encoder in {base.folder}: {error}") from error

    def means(self, batch: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Means (n, `DEPTH`, hidden) of the last layers, in the order of the batch."""
        result = np.empty((len(batch), DEPTH, self._hidden), np.float32)
        for rows in plan_batches([len(tokens) for tokens in batch], budget=PIECE_TOKENS):
            result[rows] = self._session.run(["means"], {"ids": padded([batch[row] for row in rows])})[0]
        return result

    def means_of_each(self, batches: Iterable[Sequence[Sequence[int]]]) -> Iterator[NDArray[np.float32]]:
        """`means` of each batch, in order."""
        return map(self.means, batches)
