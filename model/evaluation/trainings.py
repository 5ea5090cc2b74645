"""Trainings behind figures: each source left out whole, and full tuning beside low-rank."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from model.base import Base
from model.data.example import Example
from model.evaluation.evaluate import Examinee, Retrained, Say, held_out
from model.evaluation.figures import Figures
from model.files import replacing
from model.registry import StoredClassifier
from model.training import recipe
from model.training.checkpoint import Checkpoint
from pipeline.clock import now_us
from pipeline.errors import ModelError

#: What is left out, by the source that is then tested. The sentences of this project stay: a set of a kind that they
#: know is what a user's own texts are.
LEFT_OUT = {
    "sentfin": frozenset(("sentfin",)),
    "t6": frozenset(("t6",)),
    "t26": frozenset(("t26",)),
    "who": frozenset(("who",)),
    "logs": frozenset(("logs",)),
    "bgl": frozenset(("logs",)),
    "contrast": frozenset(("contrast",)),
}

_FILE, _UNFINISHED = "evaluation.json", ".evaluation"


class _Found(msgspec.Struct, frozen=True):
    """What one training showed: figures by source, and (steps, loss on the tuning part)."""

    figures: dict[str, Figures]
    curve: list[tuple[int, float]]


def repeat(base: Base, classifier: StoredClassifier, folder: Path, data: Path, say: Say) -> Retrained:
    """Train once without each source, once in full, once with everything; hours on two cores. What is done is kept in
    `folder`, so that a repeat that was stopped goes on where it was. Raises ModelError, at once where the base is not
    that of the classifier; OSError."""
    classifier.encoder_weights(base)
    tests = held_out(data, recipe.examples(data))
    kept = folder / _UNFINISHED
    left_out: dict[str, Figures] = {}
    for without in dict.fromkeys(LEFT_OUT.values()):
        mine = {name: part for name, part in tests.items() if LEFT_OUT[name] == without}
        if mine:
            left_out |= _trained(base, kept, recipe.lesson(data, without=without), mine, _called(without), say).figures
    full = _trained(base, kept, recipe.lesson(data, method="full"), tests, "full", say)
    low_rank = _trained(base, kept, recipe.lesson(data), tests, "lora", say)
    found = Retrained(
        model=classifier.description.version,
        made=datetime.fromtimestamp(now_us() / 1e6, UTC).date().isoformat(),
        left_out=left_out,
        full=full.figures,
        lora=low_rank.figures,
        curve=low_rank.curve,
    )
    _write(folder / _FILE, found)
    shutil.rmtree(kept)
    return found


def _called(without: frozenset[str]) -> str:
    return f"without {', '.join(sorted(without))}"


def _trained(
    base: Base, folder: Path, lesson: recipe.Lesson, tests: dict[str, list[Example]], called: str, say: Say
) -> _Found:
    key = lesson.key()
    file = folder / f"{key}.json"
    if file.is_file():
        say(f"{called}: done before")
        return msgspec.json.decode(file.read_bytes(), type=_Found)
    began_s: list[tuple[float, int]] = []  # at the first step: what comes before says nothing of the steps to come

    def told(step: int, steps: int, loss: float) -> None:
        if not began_s:
            began_s.append((time.monotonic(), step))
        elif step % 25 == 0:
            (since_s, first), now_s = began_s[0], time.monotonic()
            left_s = (now_s - since_s) * (steps - step) / (step - first)
            say(f"{called}: step {step} of {steps}, loss {loss:.4f}, {left_s:,.0f} s left")

    say(f"{called}: learns from {len(lesson.taught):,} texts")
    checkpoint = Checkpoint(folder / f"{key}.safetensors", key)
    made = recipe.train(base, lesson, told, checkpoint)
    examined = Examinee(base, made.adapter.merged(base.load()), made.head, made.calibration)
    found = _Found({name: examined.figures(part) for name, part in tests.items()}, made.curve)
    _write(file, found)
    checkpoint.forget()
    return found


def recorded(folder: Path, classifier: StoredClassifier) -> Retrained | None:
    """What the last retraining found for this very classifier. Raises ModelError where the file is damaged."""
    try:
        found = msgspec.json.decode((folder / _FILE).read_bytes(), type=Retrained)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(
            f"{folder / _FILE} is damaged ({error}): remove it, or make it again with --retrain"
        ) from error
    return found if found.model == classifier.description.version else None


def _write(path: Path, found: msgspec.Struct) -> None:
    """Replace it whole. Raises ModelError when it cannot be written."""
    with replacing(path) as partial:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
