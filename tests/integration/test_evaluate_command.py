"""tocsin evaluate: on one's own texts, and what it says where there is nothing to evaluate on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model import Classifier, registry
from model.base import find_base
from model.data.example import Example
from model.evaluation.evaluate import evaluate_own
from model.evaluation.figures import figures
from model.evaluation.page import check
from model.measured import measured

TEXTS = [
    ("Factory burns down, four dead", "bad"),
    ("Bank collapses, savers lose everything", "bad"),
    ("Ebola outbreak kills nine in the north", "bad"),
    ("disk failure on node 7, data lost", "bad"),
    ("Library opens on Monday", "ok"),
    ("Quarterly results in line with expectations", "ok"),
    ("session opened for user root", "ok"),
    ("The flood is over and nobody was hurt", "ok"),
]


WHAT = ("authentication failure", "session opened", "session closed", "connection failure")


def _evaluate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli", "evaluate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    file = tmp_path / "mine.csv"
    file.write_text("title,state\n" + "".join(f'"{text}",{label}\n' for text, label in TEXTS))
    return file


def test_ones_own_texts_are_measured_and_the_figures_kept_with_the_classifier(mine: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(registry.SHIPPED, folder)
    done = _evaluate(
        *("--data", str(mine), "--text-column", "title", "--label-column", "state", "--model", str(folder), "--json")
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["all"]["texts"] == 8
    assert found["all"]["accuracy"] >= 0.75
    kept = measured(folder, registry.load(folder).description.version)
    assert kept["evaluated"]["sets"]["all"] == found["all"]


def test_ones_own_texts_are_a_table_for_people_and_what_one_class_alone_cannot_say_is_a_dash(mine: Path) -> None:
    mine.write_text(mine.read_text() + '"No one was hurt in the end, the mayor of the town says",ok\n')
    done = _evaluate("--data", str(mine), "--text-column", "title", "--label-column", "state")
    head, everything, *slices = done.stdout.splitlines()
    assert head.split() == ["your", "texts", "texts", "bad", "accuracy", "F1", "AUROC", "ECE"]
    assert re.fullmatch(r"all +9 +0\.44( +[01]\.\d{3}){4}", everything)
    (negation,) = (line for line in slices if line.startswith("negation"))
    assert re.fullmatch(r"negation +1 +0\.00 +[01]\.\d{3} +- +- +[01]\.\d{3}", negation)


def test_a_column_that_is_not_there_is_named(mine: Path) -> None:
    done = _evaluate("--data", str(mine))
    assert done.returncode == 1
    assert "no column 'text', it has title, state" in done.stderr


def test_a_folder_without_the_public_sets_is_a_usage_error(tmp_path: Path) -> None:
    done = _evaluate("--sets", str(tmp_path))
    assert done.returncode == 2
    assert "holds no public sets" in done.stderr


def test_half_of_the_public_sets_is_told_before_anything_is_scored(tmp_path: Path) -> None:
    (tmp_path / "news").mkdir()
    done = _evaluate("--sets", str(tmp_path))
    assert done.returncode == 1
    assert "are not whole" in done.stderr
    assert "SEntFiN.csv is missing" in done.stderr


def test_a_page_in_no_folder_is_told_before_anything_is_scored(tmp_path: Path) -> None:
    (tmp_path / "news").mkdir()
    done = _evaluate("--sets", str(tmp_path), "--page", str(tmp_path / "nowhere" / "page.html"))
    assert done.returncode == 2
    assert "there is no folder" in done.stderr


def test_a_page_that_is_a_folder_is_told_before_anything_is_scored(tmp_path: Path) -> None:
    (tmp_path / "news").mkdir()
    done = _evaluate("--sets", str(tmp_path), "--page", str(tmp_path))
    assert done.returncode == 2
    assert "is a folder" in done.stderr


def test_a_page_that_cannot_be_written_is_told_before_anything_is_scored(tmp_path: Path) -> None:
    (tmp_path / "news").mkdir()
    done = _evaluate("--sets", str(tmp_path), "--page", "/proc/page.html")
    assert done.returncode == 2
    assert re.search("--page: /proc/page.html cannot be written to: .+; name another file", done.stderr)


def test_a_look_whether_a_page_can_be_written_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "old.html").write_text("old")
    (tmp_path / "link.html").symlink_to("aim.html")
    for name in ("new", "old", "link"):
        check(tmp_path / f"{name}.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.html", "old.html"]
    assert (tmp_path / "old.html").read_text() == "old"


def test_options_of_the_public_sets_are_refused_with_ones_own_texts(mine: Path) -> None:
    done = _evaluate("--data", str(mine), "--page", "page.html")
    assert done.returncode == 2
    assert "are of the public sets" in done.stderr


def test_figures_that_cannot_be_kept_are_said_all_the_same(mine: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(registry.SHIPPED, folder)
    (folder / "evaluated.json").mkdir()  # as where nothing may be written
    done = _evaluate(
        *("--data", str(mine), "--text-column", "title", "--label-column", "state", "--model", str(folder), "--json")
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["all"]["texts"] == 8
    assert "cannot be kept" in done.stderr


def test_ones_own_log_lines_are_measured_as_they_are_scored_by_their_template() -> None:
    lines = [
        f"Jun 15 04:06:{n:02} host-{n} sshd[{20000 + n}]: {what} for user u{n}" for n in range(10) for what in WHAT
    ]
    examples = [Example(line, float("failure" in line), "yours", line) for line in lines]
    found = evaluate_own(find_base(), registry.load(), examples)["all"]
    said = np.array([one.bad for one in Classifier.load().score(lines)])
    expected = figures(said, np.array([example.target > 0.5 for example in examples]))
    assert len(set(said.tolist())) == len(WHAT)  # ten lines of each have one score: that of their template
    assert found.ece == pytest.approx(expected.ece, abs=0.002)
    assert (found.accuracy, found.auroc) == (expected.accuracy, expected.auroc)
