"""Which engine runs, and why: by what the machine has."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from model import registry
from model.base import find_base
from model.engines.encoder_engine import Encoder, EncoderEngine
from pipeline.errors import ModelError
from pipeline.scoring.engine import Engine
from pipeline.scoring.null_engine import NullEngine

Name = Literal["openvino", "torch", "null"]

#: Where a driver for NVIDIA devices shows itself: Linux, and Linux within Windows.
_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


def load_engine(
    name: str = "auto",
    *,
    folder: Path | None = None,
    topics: Mapping[str, Sequence[str]] | None = None,
    threads: int | None = None,
) -> Engine:
    """The engine of this name ("auto", "openvino", "torch", "null"), loaded and ready within about a second.

    `folder` holds a classifier (None: the shipped one); `topics` are added to its own, or replace them by name;
    `threads` bounds what inference uses of the CPU. Raises ModelError that says what to do.
    """
    chosen, _ = choose(name)
    if chosen == "null":
        return NullEngine()
    classifier = registry.load(folder)
    if topics:
        classifier = classifier.with_topics(topics)
    base = find_base()
    weights = classifier.encoder_weights(base)
    encoder: Encoder
    try:
        if chosen == "torch":
            from model.engines.torch_engine import TorchEncoder

            encoder = TorchEncoder(base, weights, threads)
        else:
            from model.engines.openvino_engine import OpenVinoEncoder

            encoder = OpenVinoEncoder(base, weights, threads)
    except ImportError as error:
        raise ModelError(f"engine {chosen!r} is not installed: {error}") from error
    return EncoderEngine(encoder, base, classifier)


def choose(name: str = "auto") -> tuple[Name, str]:
    """The engine that `name` stands for on this machine, and why in one line. Raises ModelError."""
    if name == "null":
        return "null", "null: scores are hashes, asked for"
    if name == "torch":
        return "torch", f"torch on {'CUDA' if has_cuda() else 'the CPU'}, asked for"
    if name == "openvino":
        return "openvino", f"openvino, asked for; {_precision()}"
    if name != "auto":
        raise ModelError(f"there is no engine {name!r}: choose auto, openvino, torch or null")
    if has_cuda():
        return "torch", "torch: a CUDA device is there, bf16"
    if importlib.util.find_spec("openvino") is not None:
        return "openvino", f"openvino: no CUDA device; {_precision()}"
    return "torch", "torch on the CPU, fp32: no CUDA device, and openvino is not installed"


def has_cuda() -> bool:
    """Whether torch can use a CUDA device; torch is imported only where a driver is."""
    if not any(device.exists() for device in _DEVICES):
        return False
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def _precision() -> str:
    from model.engines.openvino_engine import has_bf16

    return "bf16 (the CPU multiplies it)" if has_bf16() else "fp32 (the CPU has neither AMX nor AVX512 bf16)"
