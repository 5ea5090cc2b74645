"""The encoder on OpenVINO: the default on a CPU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from model.adapter import Weights
from model.base import DEPTH, Base
from model.engines.cpu import has_bf16
from model.engines.openvino_graph import build
from model.engines.openvino_streams import Streams
from pipeline.errors import ModelError

Precision = Literal["bf16", "f32"]

#: Compiled operations that are kept for shapes seen before. OpenVINO's own limit is 5,000, and by it a process grows
#: for hours, to more than a gigabyte. Compiling anew is cheap: 2 to 5 ms for a piece of 20 to 260.
_KEPT_OPERATIONS = 300


class OpenVinoEncoder:
    """Runs batches on the CPU. Not for use by several threads at once."""

    name = "openvino"

    def __init__(
        self, base: Base, weights: Weights, threads: int | None = None, *, precision: Precision | None = None
    ) -> None:
        """`weights` of the encoder, shaped as `base` says; `threads`: how many the inference may use, None leaves that
        to OpenVINO; `precision` None: bf16 where the CPU multiplies it, else f32. Raises ModelError."""
        self.precision: str = precision or ("bf16" if has_bf16() else "f32")
        settings: dict[str, object] = {
            "INFERENCE_PRECISION_HINT": self.precision,
            "PERFORMANCE_HINT": "THROUGHPUT",
            # Pinned to cores, two processes would share the first ones and leave the others idle.
            "ENABLE_CPU_PINNING": False,
            "CPU_RUNTIME_CACHE_CAPACITY": _KEPT_OPERATIONS,
        }
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            compiled = ov.Core().compile_model(build(base, weights), "CPU", settings)
            self._streams = Streams(compiled, (DEPTH, base.hidden))
        except (RuntimeError, KeyError, OSError) as error:
            raise ModelError(f"OpenVINO cannot run the encoder in {base.folder}: {error}") from error

    def means(self, batch: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Means (n, `DEPTH`, hidden) of the last layers, in the order of the batch. Raises ModelError."""
        (result,) = self.means_of_each([batch])
        return result

    def means_of_each(self, batches: Iterable[Sequence[Sequence[int]]]) -> Iterator[NDArray[np.float32]]:
        """`means` of each batch, in order. Raises ModelError."""
        try:
            yield from self._streams.run(batches)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO failed in a forward pass: {error}") from error
