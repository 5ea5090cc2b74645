"""tocsin evaluate --retrain: every training behind the figures made again, on sets as small as they can be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from invented_sets import invent
from typer.testing import CliRunner

from model import registry
from model.base import find_base
from model.calibrate import Calibration
from model.data.contrast import contrast
from model.evaluation import evaluate, trainings
from model.training import recipe
from model.training.adaptation import Adapted
from model.training.tuning import TuningSettings
from pipeline.cli.evaluate import register
from pipeline.errors import ModelError, UsageError


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    data = tmp_path / "sets"
    invent(data)
    return data


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of two steps, on a few of the project's sentences."""
    few = list(contrast())[::12]
    monkeypatch.setattr(recipe, "contrast", lambda: iter(few))
    monkeypatch.setattr(recipe, "SETTINGS", TuningSettings(epochs=1, steps=2, batch=16, checks=1))
    monkeypatch.setattr(evaluate, "_slices", lambda mine, tests: {})


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which trainings were made; a fourth one is cut short, once."""
    made: list[str] = []
    train: Callable[..., Adapted] = recipe.train

    def noted(base: object, lesson: recipe.Lesson, *rest: object) -> Adapted:
        if len(made) == 3:
            made.append("cut short")
            raise KeyboardInterrupt
        made.append(lesson.key())
        return train(base, lesson, *rest)

    monkeypatch.setattr(recipe, "train", noted)
    return made


@pytest.mark.usefixtures("small")
def test_every_training_is_made_once_though_it_was_stopped(sets: Path, tmp_path: Path, trained: list[str]) -> None:
    folder = tmp_path / "model"
    shutil.copytree(registry.SHIPPED, folder)
    app = typer.Typer()
    register(app)
    command = ["--retrain", "--json", "--sets", str(sets), "--model", str(folder)]
    assert CliRunner().invoke(app, command).exit_code != 0
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    trained.remove("cut short")
    sources = len(set(trainings.LEFT_OUT.values()))
    assert len(trained) == len(set(trained)) == sources + 2  # and in full, and with everything
    found = json.loads(done.stdout)
    for name in ("sentfin", "t6", "t26", "logs", "contrast"):
        source = found["sources"][name]
        assert source["left_out"]["texts"] == source["full"]["texts"] == source["lora"]["texts"] > 0
        assert source["gap"]["f1"] == pytest.approx(source["tuned"]["f1"] - source["left_out"]["f1"], abs=1e-3)
    assert found["sources"]["who"]["left_out"]["auroc"] is None  # one class alone
    assert not (folder / ".evaluation").exists()
    kept = json.loads((folder / "evaluation.json").read_bytes())
    assert kept["model"] == found["model"]
    assert kept["curve"]


def test_only_the_shipped_classifier_s_trainings_can_be_repeated(sets: Path, tmp_path: Path) -> None:
    shipped, app = registry.load(), typer.Typer()
    said = shipped.description
    registry.save(tmp_path, shipped.head, Calibration(2.0, 0.0), base=said.base, topics=said.topics)
    register(app)
    done = CliRunner().invoke(app, ["--retrain", "--sets", str(sets), "--model", str(tmp_path)])
    assert isinstance(done.exception, UsageError)
    assert str(done.exception).endswith(f"and {tmp_path} holds another one: leave out --retrain or --model")


def test_another_base_than_that_of_the_classifier_is_told_before_any_training(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "train", lambda *_: pytest.fail("it trains"))
    folder, shipped = tmp_path / "model", registry.load()
    registry.save(folder, shipped.head, shipped.calibration, base="another", topics={}, adapter=shipped.adapter)
    (folder / "evaluation.json").write_text("what was found before")
    with pytest.raises(ModelError, match="trained on another base"):
        trainings.repeat(find_base(), registry.load(folder), folder, sets, lambda _: None)
    assert (folder / "evaluation.json").read_text() == "what was found before"
