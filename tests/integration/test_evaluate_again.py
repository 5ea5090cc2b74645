"""tocsin evaluate --retrain: every training behind the figures made again, on sets as small as they can be."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
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

#: Of each set so many texts of either sort; a split needs some of both in every part.
MANY = 40

BAD = "losses mount as plant number {} burns, many hurt"
FINE = "library number {} opens with a happy concert"


def _words(number: int) -> str:
    """A number in letters: copies are found without digits."""
    return "".join(chr(ord("a") + int(digit)) for digit in f"{number:03}")


def _texts(sort: str, offset: int = 0) -> list[str]:
    return [sort.format(_words(number + offset)) for number in range(MANY)]


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """Public sets of invented texts, laid out as the real ones."""
    data = tmp_path / "sets"
    _file(data / "news/sentfin/SEntFiN.csv", "Title,Decisions\n" + "".join(
        f"\"{text}\",\"{{'X': '{said}'}}\"\n"
        for said, sort in (("negative", BAD), ("positive", FINE))
        for text in _texts(sort)
    ))  # fmt: skip
    for number, event in enumerate(("2012_Sandy_Hurricane", "2013_Oklahoma_Tornado")):
        _file(data / f"news/crisislex/t6/{event}-ontopic_offtopic.csv", "tweet id, tweet, label\n" + "".join(
            f"1,{text},{label}\n"
            for label, sort in (("on-topic", BAD), ("off-topic", FINE))
            for text in _texts("storm: " + sort, 100 * number)
        ))  # fmt: skip
    for number, event in enumerate(("2012_Italy_earthquakes", "2013_Manila_floods")):
        _file(
            data / f"news/crisislex/t26/{event}-tweets_labeled.csv",
            "Tweet ID, Tweet Text, Information Source, Information Type, Informativeness\n"
            + "".join(
                f"1,{text},Media,{kind},{informative}\n"
                for kind, informative, sort in (
                    ("Affected individuals", "Related and informative", BAD),
                    ("Not labeled", "Not related", FINE),
                )
                for text in _texts("flood: " + sort, 100 * number)
            ),
        )
    reports = "Date,Description\n" + "".join(
        f"{year}-01-02,Cholera report {_words(number)}: new cases and deaths were reported in the district.\n"
        for year in (1999, 2014)
        for number in range(year, year + MANY)
    )
    _file(data / "health/who_don_1996_2015.csv.gz", reports)
    for system in ("HPC", "Linux"):
        lines = [
            f"{word} {_words(number)} on the node"
            for number in range(MANY)
            for word in ("error: failed disk", "info: session opened")
        ]
        _file(data / f"logs/loghub/{system}_2k.log", "\n".join(lines) + "\n")
    _file(data / "logs/bgl_first_day.csv.gz", "ts,label,bad,event_id,EventTemplate\n" + "".join(
        f"2005-06-0{day} 00:00:{second:02},-,{bad},E{bad},{text}\n"
        for day in (3, 4)
        for second in range(20)
        for bad, text in ((1, "machine check interrupt"), (0, "ciod started"))
    ))  # fmt: skip
    return data


def _file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


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
