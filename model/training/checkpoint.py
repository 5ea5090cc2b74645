"""Where a training was stopped: weights, the optimizer's moments, and the best so far, in one file without pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from model.files import replacing
from pipeline.errors import ModelError

_NOW, _BEST, _FIRST, _SECOND = "now.", "best.", "first.", "second."


@dataclass(frozen=True, slots=True)
class Stopped:
    """A training that goes on with step `step`."""

    step: int
    best: dict[str, Tensor]
    best_loss: float
    since: int
    curve: list[tuple[int, float]]


class Checkpoint:
    """One file, replaced whole. `key` names what is trained on what, and how: another training does not go on here."""

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._key = path, key

    def save(
        self,
        step: int,
        trained: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        best: Mapping[str, Tensor],
        best_loss: float,
        since: int,
        curve: Sequence[tuple[int, float]],
    ) -> None:
        """Keep where the training is after `step` steps. Raises ModelError when it cannot be written."""
        tensors: dict[str, Tensor] = {}
        for name, value in trained.items():
            state = optimizer.state[value]
            tensors[_NOW + name] = value.detach()
            tensors[_BEST + name] = best[name]
            tensors[_FIRST + name] = state["exp_avg"]
            tensors[_SECOND + name] = state["exp_avg_sq"]
        told = {"key": self._key, "step": str(step), "best_loss": repr(best_loss), "since": str(since)}
        told["curve"] = msgspec.json.encode(curve).decode()
        with replacing(self._path) as partial:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata=told)

    def load(self, trained: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> Stopped | None:
        """Put weights and moments back. None when there is nothing, or another training's. Raises ModelError when the
        file is damaged."""
        if not self._path.is_file():
            return None
        try:
            with safe_open(self._path, framework="pt") as file:
                told = file.metadata() or {}  # None where another program wrote it
                if told["key"] != self._key:
                    return None
                step, best = int(told["step"]), {}
                for name, value in trained.items():
                    with torch.no_grad():
                        value.copy_(file.get_tensor(_NOW + name))
                    best[name] = file.get_tensor(_BEST + name)
                    optimizer.state[value] = {
                        "step": torch.tensor(float(step)),
                        "exp_avg": file.get_tensor(_FIRST + name),
                        "exp_avg_sq": file.get_tensor(_SECOND + name),
                    }
                curve = msgspec.json.decode(told["curve"], type=list[tuple[int, float]])
                return Stopped(step, best, float(told["best_loss"]), int(told["since"]), curve)
        except (SafetensorError, msgspec.MsgspecError, KeyError, ValueError, OSError) as error:
            raise ModelError(f"{self._path} is damaged ({error}); remove it to begin anew") from error

    def forget(self) -> None:
        """The training is over."""
        self._path.unlink(missing_ok=True)
