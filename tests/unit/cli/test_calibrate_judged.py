"""`tocsin calibrate`: the half that judges it has no part in it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from model.calibrate import Doubles
from model.data.example import Example
from model.data.labelled_file import Columns, labelled
from model.measured import measured
from model.training import recalibration
from pipeline.cli import commands
from pipeline.cli.main import app

commands.register(app)

WORKS = ("steel", "glass", "paper", "gas", "water", "brick", "cable", "sugar")
TOWNS = ("Faro", "Turku", "Graz", "Split", "Cork")


def _logits(base: object, classifier: object, examples: Sequence[Example]) -> Doubles:
    """Right of most texts and wrong of those on sugar."""
    return np.array([1.0 if ("burns" in one.text) != ("sugar" in one.text) else -1.0 for one in examples])


def _rows(turned: Collection[str] = ()) -> str:
    """A table in which some labels are turned round."""
    texts = [f"The {work} works in {town} {what}" for work in WORKS for town in TOWNS for what in ("burns", "opens")]
    return "text,label\n" + "".join(f"{text},{int(('burns' in text) != (text in turned))}\n" for text in texts)


def _calibrated(folder: Path, rows: str) -> tuple[str, dict[str, Any]]:
    folder.mkdir()
    (folder / "mine.csv").write_text(rows)
    done = CliRunner().invoke(app, ["calibrate", "--data", str(folder / "mine.csv"), "--out", str(folder / "made")])
    assert done.exit_code == 0, done.output
    version = done.output.split("version ")[1].split()[0]
    return version, measured(folder / "made", version)["training"]["yours"]


def test_labels_of_the_half_that_judges_change_the_judgement_and_not_the_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recalibration, "logits_of", _logits)
    (tmp_path / "all.csv").write_text(_rows())
    fitted, held_out = recalibration.halves(labelled([tmp_path / "all.csv"], Columns()))
    version, yours = _calibrated(tmp_path / "right", _rows())
    other, turned = _calibrated(tmp_path / "turned", _rows({example.text for example in held_out}))
    assert other == version
    assert yours["after"]["texts"] == len(held_out)
    assert turned["after"]["accuracy"] == pytest.approx(1 - yours["after"]["accuracy"])
    learned, _ = _calibrated(tmp_path / "learned", _rows({example.text for example in fitted[:4]}))
    assert learned != version
