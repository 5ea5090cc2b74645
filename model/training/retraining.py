"""From a classifier and a person's labelled texts to a classifier of theirs, and what it is worth."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from model import registry
from model.base import Base
from model.calibrate import Doubles, smoothed
from model.data.contrast import contrast
from model.data.example import Example, Split, distinct
from model.engines.openvino_engine import OpenVinoEncoder
from model.tokenizing import TextTokenizer
from model.training import recipe
from model.training.adaptation import Adapted, Start, adapt, means
from model.training.checkpoint import Checkpoint
from model.training.parts import Parts
from model.training.plan import OWN, Plan
from model.training.tuning import TuningSettings
from pipeline.scoring.kind import as_scored

#: Told as it goes: texts done, texts in all, members of an ensemble and their student together.
Told = Callable[[int, int], None]

#: Told in a line of words where a training goes on that was stopped.
Say = Callable[[str], None]

#: Labels are taken to be right this often: a network that is told to be certain is, and is wrong about it.
_SURE = 0.98

#: The part of the tuning loss that the project's sentences make up.
_CONTRAST = 0.3

#: The rarer class makes up this part of what is drawn from a person's texts at the least.
_RARE = 0.25

#: A folder within that of the classifier, while it is trained.
_UNFINISHED = ".training"


def retrain(
    base: Base,
    start: registry.StoredClassifier,
    parts: Parts,
    plan: Plan,
    folder: Path,
    told: Told,
    say: Say = lambda _: None,
) -> str:
    """Train on `parts.train`, stop and calibrate on `parts.tune`, save in `folder`; the version.

    Idempotence: the same texts, plan and start give the same version on the same machine; one that was stopped goes on
    where it was when it is called again, until `forget`. Raises ModelError.
    """
    begin = Start(base, start.encoder_weights(base), start.adapter, start.head)
    settings = plan.settings(len(parts.train))
    key = _key(start.description.version, parts, plan, settings)
    runs = _Runs(begin, plan, settings, folder / _UNFINISHED, key, told, say, _tuning(parts.tune))
    own = [_scored(example) for example in parts.train]
    if plan.members:
        own = _softened(own, runs, plan.members)
    adapted = runs.adapted(own, "student")
    return registry.save(
        folder,
        adapted.head,
        adapted.calibration,
        base=start.description.base,
        topics=start.description.topics,
        adapter=adapted.adapter,
    )


def begun(folder: Path) -> bool:
    """Whether a training goes on in `folder` when it is called again."""
    return any((folder / _UNFINISHED).glob("*.safetensors"))


def forget(folder: Path) -> None:
    """The training is over, and what it made is measured."""
    shutil.rmtree(folder / _UNFINISHED, ignore_errors=True)


def held_out_contrast() -> list[Example]:
    """The project's sentences that no training sees."""
    return _contrast("test", 1000)


class _Runs:
    """The trainings that one call takes: one, or each member of an ensemble and its student."""

    def __init__(
        self,
        begin: Start,
        plan: Plan,
        settings: TuningSettings,
        folder: Path,
        key: str,
        told: Told,
        say: Say,
        tune: Sequence[Example],
    ) -> None:
        self.begin = begin
        self._plan, self._settings, self._told, self._say, self._tune = plan, settings, told, say, tune
        self._folder, self._key = folder, key
        self._before = 0

    def adapted(self, own: Sequence[Example], name: str, number: int = 0) -> Adapted:
        """One of them; a finished one is read back."""
        settings = replace(self._settings, seed=self._settings.seed + number)
        texts = settings.epochs * settings.steps * settings.batch
        begun = False

        def told(step: int, steps: int, loss: float) -> None:
            nonlocal begun
            if not begun and step > 1:
                self._say(f"{name if self._plan.members else 'training'}: goes on from step {step - 1} of {steps}")
            begun = True
            self._told(self._before + step * settings.batch, texts * (self._plan.members + 1))

        checkpoint = Checkpoint(self._folder / f"{name}.safetensors", f"{self._key} {name}")
        shares = {"yours": OWN, "contrast": 1 - OWN}
        train = [*_balanced(own), *_contrast("train", round(texts * (1 - OWN)))]
        found = adapt(self.begin, train, self._tune, shares, self._plan.method, settings, told, checkpoint)
        self._before += texts
        return found


def _softened(own: Sequence[Example], runs: _Runs, members: int) -> list[Example]:
    """The texts with targets half their label, half what the members of an ensemble say on average.

    Each member is trained without one fold of the groups. One student learns from all (Hinton et al. 2015,
    "Distilling the Knowledge in a Neural Network"), so that scoring costs what it did.
    """
    texts = [example.text for example in own]
    folds = [_fold(example.group, members) for example in own]
    said = np.zeros(len(own))
    for member in range(members):
        mine = [example for example, fold in zip(own, folds, strict=True) if fold != member]
        found = runs.adapted(mine, f"member {member + 1}", member + 1)
        said += _probabilities(runs.begin.base, found, texts) / members
    return [replace(example, target=(example.target + float(p)) / 2) for example, p in zip(own, said, strict=True)]


def _fold(group: str, folds: int) -> int:
    digest = hashlib.sha256(b"fold " + group.encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big") % folds


def _probabilities(base: Base, adapted: Adapted, texts: Sequence[str]) -> Doubles:
    found = means(texts, OpenVinoEncoder(base, adapted.adapter.merged(base.load())), TextTokenizer(base))
    return adapted.calibration.probabilities(adapted.head.logits(found))


def _scored(example: Example) -> Example:
    """As it will be scored: a log line by its template. The label is a little less than certain."""
    return replace(example, text=as_scored(example.text), target=min(_SURE, max(1 - _SURE, example.target)))


def _balanced(own: Sequence[Example]) -> list[Example]:
    """The rarer class weighs more where it is rare; the calibration puts the probabilities right again."""
    bad = np.array([example.target > 0.5 for example in own])
    share = float(min(bad.mean(), 1 - bad.mean()))
    if share == 0 or share >= _RARE:
        return list(own)
    rare = bool(bad.mean() < 0.5)
    weight = _RARE / (1 - _RARE) * (1 - share) / share
    return [replace(e, weight=weight if b == rare else 1.0) for e, b in zip(own, bad.tolist(), strict=True)]


def _tuning(own: Sequence[Example]) -> list[Example]:
    """What stops and calibrates. Targets are smoothed by their numbers, so that a few texts that are all told apart do
    not make it certain (Platt 1999, section 2.2)."""
    mine = [*map(_scored, own)]
    smooth = smoothed(np.array([example.target for example in mine]))
    mine = [replace(example, target=target) for example, target in zip(mine, smooth.tolist(), strict=True)]
    others = _contrast("tune", max(len(mine), 50))
    weight = _CONTRAST / (1 - _CONTRAST) * len(mine) / len(others)
    return [*mine, *(replace(example, weight=weight) for example in others)]


def _contrast(part: Split, most: int) -> list[Example]:
    """The project's sentences of a part, thinned to about `most`: no more than are looked at."""
    found = [example for example in distinct(contrast()) if recipe.split(example) == part]
    return found[:: max(1, len(found) // most)]


def _key(version: str, parts: Parts, plan: Plan, settings: TuningSettings) -> str:
    """What makes a training another one."""
    said = msgspec.json.encode([version, parts.train, parts.tune, plan, settings])
    return hashlib.sha256(said).hexdigest()
