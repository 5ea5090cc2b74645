"""What a training for a person's own texts is given: which texts, with which weights and targets, and which settings.
Nothing is trained here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from model import registry
from model.adapter import Adapter
from model.base import DEPTH, Base, find_base
from model.calibrate import Calibration
from model.data.contrast import contrast
from model.data.example import Example
from model.head import Head
from model.training import retraining
from model.training.adaptation import Adapted, Start
from model.training.network import Method
from model.training.parts import Parts
from model.training.plan import Plan
from model.training.retraining import held_out_contrast, retrain
from model.training.tuning import TuningSettings


@dataclass
class Lesson:
    """What one training was given; `own` and `own_tune` are a person's texts among it."""

    train: Sequence[Example]
    tune: Sequence[Example]
    shares: Mapping[str, float]
    settings: TuningSettings

    @property
    def own(self) -> list[Example]:
        return [example for example in self.train if example.source == "yours"]

    @property
    def own_tune(self) -> list[Example]:
        return [example for example in self.tune if example.source == "yours"]


def _says(probability: float) -> Adapted:
    """A classifier that says this of every text."""
    inputs = DEPTH * find_base().hidden
    flat = Head(
        np.zeros((inputs, 1), np.float32), np.zeros(1, np.float32), np.zeros(1, np.float32), np.zeros((), np.float32)
    )
    return Adapted(flat, Adapter(), Calibration(1.0, float(np.log(probability / (1 - probability)))))


#: Some of the project's own: all of them take their time.
SENTENCES = list(contrast())[::20]

#: What the members of an ensemble say, and at last their student.
SAID = (0.1, 0.2, 0.9, 0.5)


@pytest.fixture
def lessons(monkeypatch: pytest.MonkeyPatch) -> list[Lesson]:
    given: list[Lesson] = []

    def adapt(
        start: Start,
        train: Sequence[Example],
        tune: Sequence[Example],
        shares: Mapping[str, float],
        method: Method,
        settings: TuningSettings,
        *_: object,
    ) -> Adapted:
        given.append(Lesson(train, tune, shares, settings))
        return _says(SAID[len(given) - 1])

    def means(texts: Sequence[str], *_: object) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return np.zeros((len(texts), DEPTH, find_base().hidden), np.float32)

    monkeypatch.setattr(Base, "load", lambda _: {})
    monkeypatch.setattr(retraining, "contrast", lambda: SENTENCES)
    monkeypatch.setattr(retraining, "adapt", adapt)
    monkeypatch.setattr(retraining, "means", means)
    monkeypatch.setattr(retraining, "OpenVinoEncoder", lambda *_: None)
    return given


def _texts(part: str, bad: int, fine: int) -> list[Example]:
    """Four texts a group."""
    return [
        Example(f"the {part} crane {'o' * number}", float(number < bad), "yours", f"{part} {number // 4}")
        for number in range(bad + fine)
    ]


PARTS = Parts(_texts("taught", 30, 50), _texts("stopping", 3, 4), _texts("judging", 8, 12))


def _retrain(folder: Path, parts: Parts = PARTS, plan: Plan | None = None) -> None:
    start = registry.load()
    start = registry.StoredClassifier(start.description, start.head)
    retrain(find_base(), start, parts, plan or Plan(), folder, lambda *_: None)


def _said(examples: Sequence[Example]) -> set[str]:
    return {example.text for example in examples}


@pytest.mark.parametrize("members", [0, 3])
def test_a_training_never_sees_what_judges_it(lessons: list[Lesson], tmp_path: Path, members: int) -> None:
    _retrain(tmp_path, plan=Plan(members=members))
    assert len(lessons) == members + 1
    for lesson in lessons:
        assert not _said([*lesson.train, *lesson.tune]) & _said([*PARTS.test, *held_out_contrast()])
        assert not _said(lesson.train) & _said(lesson.tune)
        assert _said(lesson.own_tune) == _said(PARTS.tune)
    assert _said(lessons[-1].own) == _said(PARTS.train)


def test_the_projects_own_sentences_are_trained_on_and_stop_it_too(lessons: list[Lesson], tmp_path: Path) -> None:
    _retrain(tmp_path)
    (lesson,) = lessons
    others = [example for example in lesson.train if example.source.startswith("contrast:")]
    assert len(others) == len(lesson.train) - len(PARTS.train)
    assert {example.target > 0.5 for example in others} == {True, False}
    assert lesson.shares == {"yours": 0.6, "contrast": 0.4}
    weight = sum(example.weight for example in lesson.tune)
    assert sum(example.weight for example in lesson.own_tune) == pytest.approx(0.7 * weight)


@pytest.mark.parametrize(
    ("asked", "changed"),
    [
        (Plan(adversarial=True), "adversary"),
        (Plan(augment=True), "augment"),
        (Plan(early_stopping=True), "patience"),
    ],
)
def test_an_option_reaches_the_training_and_changes_nothing_else(
    lessons: list[Lesson], tmp_path: Path, asked: Plan, changed: str
) -> None:
    for plan in (Plan(), asked):
        _retrain(tmp_path, plan=plan)
    without, with_it = (asdict(lesson.settings) for lesson in lessons)
    assert {name for name in without if without[name] != with_it[name]} == {changed}
    assert with_it[changed] > without[changed] == 0


@pytest.mark.parametrize(("bad", "fine"), [(8, 72), (72, 8)])
def test_a_rare_class_is_a_quarter_of_what_is_drawn(lessons: list[Lesson], tmp_path: Path, bad: int, fine: int) -> None:
    _retrain(tmp_path, replace(PARTS, train=_texts("taught", bad, fine)))
    weights = {True: 0.0, False: 0.0}
    for example in lessons[0].own:
        weights[example.target > 0.5] += example.weight
    assert min(weights.values()) == pytest.approx(0.25 * sum(weights.values()))
    assert (weights[True] < weights[False]) == (bad < fine)


def test_few_texts_that_stop_a_training_make_it_sure_of_nothing(lessons: list[Lesson], tmp_path: Path) -> None:
    _retrain(tmp_path)
    assert [example.target for example in lessons[0].own_tune] == pytest.approx([4 / 5] * 3 + [1 / 6] * 4)


def test_each_member_of_an_ensemble_is_trained_without_a_fold_of_its_own(lessons: list[Lesson], tmp_path: Path) -> None:
    _retrain(tmp_path, plan=Plan(members=3))
    left_out = [_said(PARTS.train) - _said(lesson.own) for lesson in lessons[:3]]
    assert all(left_out)
    assert sum(map(len, left_out)) == len(set.union(*left_out)) == len(PARTS.train)
    for lesson, texts in zip(lessons, left_out, strict=False):
        groups = {example.group for example in PARTS.train if example.text in texts}
        assert not groups & {example.group for example in lesson.own}
    assert len({lesson.settings.seed for lesson in lessons}) == 4


def test_half_of_a_students_target_is_what_the_members_say_on_average(lessons: list[Lesson], tmp_path: Path) -> None:
    _retrain(tmp_path, plan=Plan(members=3))
    student = lessons[-1].own
    assert [example.target for example in student] == pytest.approx([(0.98 + 0.4) / 2] * 30 + [(0.02 + 0.4) / 2] * 50)
