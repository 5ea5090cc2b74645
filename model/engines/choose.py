"""Which engine runs, and why: by what the machine has."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from model import registry
from model.adapter import Weights
from model.base import Base, find_base
from model.engines import cpu
from model.engines.encoder_engine import Encoder, EncoderEngine
from model.topics import check_topics
from pipeline.errors import ModelError
from pipeline.scoring.engine import Engine
from pipeline.scoring.null_engine import NullEngine

Name = Literal["openvino", "onnxruntime", "torch", "null"]

#: What `auto` looks for, best first: what measured fastest of those that change at most one label in 1,000 against
#: fp32, then onnxruntime's int8, which changes some four (docs/engines.md).
_BEST_FIRST: tuple[Name, ...] = ("openvino", "torch", "onnxruntime")

_INSTALLED_BY: dict[Name, str] = {
    "openvino": "pip install openvino",
    "onnxruntime": "pip install 'tocsin[onnx]'",
    "torch": "pip install torch",
}
_PACKAGES: dict[Name, tuple[str, ...]] = {
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime", "onnx"),
    "torch": ("torch",),
}

#: Where a driver for NVIDIA devices shows itself: Linux, and Linux within Windows.
_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides: flags of the CPU (`cpu.flags`), whether torch can use a CUDA device, and the engines whose packages
    are installed."""

    cpu_flags: frozenset[str]
    cuda: bool
    installed: frozenset[Name]


def this_machine() -> Machine:
    """Takes a moment where there is a CUDA device: torch is asked for it."""
    installed = frozenset(name for name, packages in _PACKAGES.items() if all(map(_is_installed, packages)))
    return Machine(cpu.flags(), "torch" in installed and has_cuda(), installed)


def load_engine(
    name: str = "auto",
    *,
    folder: Path | None = None,
    topics: Mapping[str, Sequence[str]] | None = None,
    threads: int | None = None,
    base: str | Path | None = None,
) -> Engine:
    """The engine of this name ("auto" or a `Name`), loaded and ready within about a second.

    `folder` holds a classifier (None: the shipped one); `topics` are added to its own, or replace them by name;
    `threads` bounds what inference uses of the CPU; `base` is where the base is (`find_base`). Raises ModelError that
    says what to do.
    """
    if threads is not None and threads < 1:
        raise ModelError(f"threads is {threads}; give 1 or more, or leave it out")
    check_topics(topics or {})
    chosen, _ = choose(name)
    if chosen == "null":
        return NullEngine()
    classifier = registry.load(folder)
    if topics:
        classifier = classifier.with_topics(topics)
    found = find_base(base)
    weights = classifier.encoder_weights(found)
    exact = partial(_encoder, chosen, found, weights, threads, exact=True) if _rounds(chosen) else None
    return EncoderEngine(_encoder(chosen, found, weights, threads), found, classifier, exact)


def choose(name: str = "auto", machine: Machine | None = None) -> tuple[Name, str]:
    """The engine that `name` stands for on a machine (None: this one), and why in one line.

    Raises ModelError where that engine is not installed, and says what installs it.
    """
    if name == "null":
        return "null", "null: scores are hashes, asked for"
    if name != "auto" and name not in _PACKAGES:
        raise ModelError(f"there is no engine {name!r}: choose auto, {', '.join(get_args(Name)[:-1])} or null")
    machine = machine or this_machine()
    if name == "auto":
        found, reason = _best(machine)
    else:
        found, reason = next(known for known in _PACKAGES if known == name), "asked for"
    if found not in machine.installed:
        raise ModelError(f"engine {found!r} is not installed: run `{_INSTALLED_BY[found]}`")
    return found, f"{found}: {reason}; {_how(found, machine)}"


def options(machine: Machine | None = None) -> dict[Name, str]:
    """For every real engine how it would run on a machine (None: this one), or why it cannot."""
    machine = machine or this_machine()
    return {
        name: _how(name, machine) if name in machine.installed else f"not installed (`{_INSTALLED_BY[name]}`)"
        for name in _PACKAGES
    }


def has_cuda() -> bool:
    """Whether torch can use a CUDA device; torch is imported only where a driver is."""
    if not any(device.exists() for device in _DEVICES):
        return False
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def _best(machine: Machine) -> tuple[Name, str]:
    if machine.cuda:
        return "torch", "a CUDA device is there"
    for name in _BEST_FIRST:
        if name in machine.installed:
            missing = _BEST_FIRST[: _BEST_FIRST.index(name)]
            return name, "no CUDA device" + (f", no {' or '.join(missing)} installed" if missing else "")
    return "openvino", "no engine is installed"


def _how(name: Name, machine: Machine) -> str:
    """Device and precision."""
    if name == "torch":
        return "bf16 on the CUDA device" if machine.cuda else "fp32 on the CPU"
    if name == "onnxruntime":
        fast = sorted(machine.cpu_flags & cpu.INT8)
        said = f"int8 on the CPU ({', '.join(fast)})" if fast else "int8 on a CPU without instructions for it"
        return f"{said}, which changes some 4 labels in 1,000"
    has = sorted(machine.cpu_flags & cpu.BF16)
    return f"bf16 on the CPU ({', '.join(has)})" if has else "fp32 on the CPU, which has neither AMX nor AVX512 bf16"


def _rounds(name: Name) -> bool:
    """Whether this engine computes with fewer bits than fp32 here."""
    return name == "onnxruntime" or (has_cuda() if name == "torch" else bool(cpu.flags() & cpu.BF16))


def _encoder(name: Name, base: Base, weights: Weights, threads: int | None, *, exact: bool = False) -> Encoder:
    """`exact`: in fp32, whatever is quickest."""
    try:
        if name == "torch":
            from model.engines.torch_engine import TorchEncoder

            return TorchEncoder(base, weights, threads, precision="f32" if exact else None)
        if name == "onnxruntime":
            from model.engines.onnx_engine import OnnxEncoder

            return OnnxEncoder(base, weights, threads, precision="f32" if exact else "int8")
        from model.engines.openvino_engine import OpenVinoEncoder

        return OpenVinoEncoder(base, weights, threads, precision="f32" if exact else None)
    except ImportError as error:
        raise ModelError(f"engine {name!r} cannot be loaded: {error}; run `{_INSTALLED_BY[name]}`") from error


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
