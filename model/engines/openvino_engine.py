"""The encoder on OpenVINO: the default on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from model.adapter import Weights
from model.base import Base
from model.engines.openvino_graph import build
from model.engines.padding import padded
from pipeline.errors import ModelError

Precision = Literal["bf16", "f32"]

#: bf16 without AMX or AVX512-BF16 is emulated, and far slower than fp32.
_BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})


class OpenVinoEncoder:
    """Runs batches on the CPU. Not for use by several threads at once."""

    name = "openvino"

    def __init__(
        self, base: Base, weights: Weights, threads: int | None = None, *, precision: Precision | None = None
    ) -> None:
        """`weights` of the encoder, shaped as `base` says; `threads`: how many the inference may use, None leaves that
        to OpenVINO; `precision` None: bf16 where the CPU multiplies it, else f32. Raises ModelError."""
        settings: dict[str, object] = {
            "INFERENCE_PRECISION_HINT": precision or ("bf16" if has_bf16() else "f32"),
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            self._request = ov.Core().compile_model(build(base, weights), "CPU", settings).create_infer_request()
        except (RuntimeError, KeyError, OSError) as error:
            raise ModelError(f"OpenVINO cannot run the encoder in {base.folder}: {error}") from error

    def means(self, batch: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Means (n, `DEPTH`, hidden) of the last layers, in the order of the batch."""
        result = self._request.infer({0: padded(batch)})[0]
        return np.array(result, np.float32)


def has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU multiplies bf16 itself."""
    try:
        with cpuinfo.open(encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return False
    return not _BF16_FLAGS.isdisjoint(flags.split())
