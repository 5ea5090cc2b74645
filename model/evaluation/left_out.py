"""Trainings behind figures: each family of sources left out whole, and full tuning beside low-rank."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from model import recipe
from model.base import Base
from model.evaluation.evaluate import Examinee, Retrained, Say, held_out
from model.evaluation.figures import Figures
from model.registry import StoredClassifier
from model.training.adaptation import Adapted
from model.training.network import Method
from pipeline.clock import now_us
from pipeline.errors import ModelError

#: What is left out together: sources that hold texts of one kind, with the sentences written for it.
FAMILIES = {
    "sentfin": frozenset(("sentfin", "contrast:finance")),
    "t6": frozenset(("t6", "t26", "contrast:disasters")),
    "t26": frozenset(("t6", "t26", "contrast:disasters")),
    "who": frozenset(("who", "contrast:public-health")),
    "logs": frozenset(("logs", "contrast:infrastructure")),
    "bgl": frozenset(("logs", "contrast:infrastructure")),
    "contrast": frozenset(("contrast",)),
}

_FILE = "evaluation.json"


def retrain(base: Base, classifier: StoredClassifier, data: Path, say: Say) -> Retrained:
    """Train once for each family, and once in full; hours on two cores. Raises ModelError, OSError."""
    tests = held_out(data, recipe.examples(data))
    left_out: dict[str, Figures] = {}
    for without in dict.fromkeys(FAMILIES.values()):
        without_it, _ = _trained(base, data, "lora", without, say)
        for name in (name for name, family in FAMILIES.items() if family == without and name in tests):
            left_out[name] = without_it.figures(tests[name])
    whole, _ = _trained(base, data, "full", frozenset(), say)
    low_rank, adapted = _trained(base, data, "lora", frozenset(), say)
    return Retrained(
        model=classifier.description.version,
        made=datetime.fromtimestamp(now_us() / 1e6, UTC).date().isoformat(),
        left_out=left_out,
        full={name: whole.figures(part) for name, part in tests.items()},
        lora={name: low_rank.figures(part) for name, part in tests.items()},
        curve=adapted.curve,
    )


def _trained(base: Base, data: Path, method: Method, without: frozenset[str], say: Say) -> tuple[Examinee, Adapted]:
    what = f"{method} without {', '.join(sorted(without)) or 'nothing'}"
    began_s: list[float] = []  # at the first step: what comes before it says nothing of the steps to come

    def told(step: int, steps: int, loss: float) -> None:
        if not began_s:
            began_s.append(time.monotonic())
        elif step % 25 == 0:
            left_s = (time.monotonic() - began_s[0]) * (steps - step) / (step - 1)
            say(f"{what}: step {step} of {steps}, loss {loss:.4f}, {left_s:,.0f} s left")

    made = recipe.train(base, data, told, method=method, without=without)
    return Examinee(base, made.adapter.merged(base.load()), made.head, made.calibration), made


def recorded(folder: Path, classifier: StoredClassifier) -> Retrained | None:
    """What the last retraining found for this very classifier. Raises ModelError where the file is damaged."""
    try:
        found = msgspec.json.decode((folder / _FILE).read_bytes(), type=Retrained)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise ModelError(
            f"{folder / _FILE} is damaged ({error}): remove it, or make it again with --retrain"
        ) from error
    return found if found.model == classifier.description.version else None


def record(folder: Path, found: Retrained) -> None:
    """Keep it beside the classifier. Raises ModelError when it cannot be written."""
    try:
        (folder / _FILE).write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    except OSError as error:
        raise ModelError(f"{folder / _FILE} cannot be written: {error.strerror}") from error
