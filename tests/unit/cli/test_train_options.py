"""`tocsin train`: what is asked for is what the training is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from model.classifier import Classifier
from model.training import comparison, retraining
from model.training.plan import Plan
from pipeline.cli import commands
from pipeline.cli.main import app

commands.register(app)


@pytest.mark.parametrize(
    ("options", "plan"),
    [
        ("", Plan()),
        ("--method head", Plan(method="head")),
        ("--augment", Plan(augment=True)),
        ("--adversarial", Plan(adversarial=True)),
        ("--early-stopping", Plan(early_stopping=True)),
        ("--ensemble 3 --epochs 5 --seed 7", Plan(members=3, epochs=5, seed=7)),
    ],
)
def test_options_are_what_the_training_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, plan: Plan
) -> None:
    asked: list[Plan] = []

    def retrain(*given: object) -> str:
        asked.extend(one for one in given if isinstance(one, Plan))
        raise KeyboardInterrupt

    monkeypatch.setattr(retraining, "retrain", retrain)
    monkeypatch.setattr(Classifier, "load", lambda *_, **named: None)
    monkeypatch.setattr(comparison, "scored_by", lambda _, examples: np.full(len(examples), 0.5))
    rows = [f"{what} number {'i' * number},{label}" for number in range(60) for what, label in (("a", 1), ("b", 0))]
    (tmp_path / "mine.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    arguments = ["train", "--data", str(tmp_path / "mine.csv"), "--out", str(tmp_path / "made"), *options.split()]
    done = CliRunner().invoke(app, arguments)
    assert "nothing was learned yet" in done.output
    assert asked == [plan]
