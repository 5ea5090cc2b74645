"""`tocsin train` and `tocsin calibrate` as they are called: what they refuse, and what they leave behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from model import registry
from model.calibrate import Calibration
from model.measured import measured

Run = Callable[..., subprocess.CompletedProcess[str]]
TRAIN = ("train", "--data", "mine.csv", "--out", "made")


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pipeline.cli", *arguments]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    mine = {k: v for k, v in os.environ.items() if not k.startswith("TOCSIN_")}
    return mine | {"TOCSIN_DATA": str(tmp_path / "data"), "PYTHONPATH": str(Path(__file__).parents[2])}


@pytest.fixture
def run(tmp_path: Path, environment: dict[str, str]) -> Run:
    def tocsin(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            _command(*arguments), capture_output=True, check=False, cwd=tmp_path, env=environment, text=True
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    return tocsin


def _write(folder: Path, texts: int, bad: str = "bad", fine: str = "ok") -> None:
    towns = ("Faro", "Turku", "Graz", "Split", "Cork", "Lund", "Nice", "Bari", "Brno", "Vigo")
    works = ("steel", "glass", "paper", "gas", "water", "brick", "chocolate", "cable")
    rows = [
        f"{text},{label}"
        for town in towns
        for work in works
        for text, label in (
            (f"Explosion at the {work} works in {town} kills several workers", bad),
            (f"The {work} works in {town} celebrates its anniversary with a concert", fine),
        )
    ]
    (folder / "mine.csv").write_text("text,label\n" + "\n".join(rows[:texts]) + "\n")


def test_too_few_texts_and_a_wrong_folder_are_one_line_with_what_to_do(run: Run, tmp_path: Path) -> None:
    _write(tmp_path, 12)
    assert "too few texts: of 12 different ones (6 bad, 6 ok)" in run(*TRAIN, code=1).stderr
    assert "label more" in run("calibrate", *TRAIN[1:], code=1).stderr
    assert "write to another folder" in run(*TRAIN[:-1], str(registry.SHIPPED), code=2).stderr
    assert "no column 'body'" in run(*TRAIN, "--text-column", "body", code=1).stderr
    assert not (tmp_path / "made").exists()


def test_a_seed_that_is_too_large_is_a_usage_error(run: Run, tmp_path: Path) -> None:
    _write(tmp_path, 160)
    assert "Invalid value for '--seed'" in run(*TRAIN, "--seed", str(2**64), code=2).stderr


@pytest.mark.parametrize("command", ["train", "calibrate"])
@pytest.mark.parametrize("out", ["/proc/mine", "mine.csv/made"])
def test_a_folder_that_takes_no_files_is_refused_before_the_work(
    run: Run, tmp_path: Path, command: str, out: str
) -> None:
    _write(tmp_path, 160)
    said = run(command, *TRAIN[1:-1], out, code=2).stderr
    assert re.fullmatch(f"tocsin: nothing can be written in {out}: .+; name another folder\n", said)


@pytest.mark.parametrize("command", ["train", "calibrate"])
@pytest.mark.parametrize("name", ["model.json", "weights.safetensors", "training.json"])
def test_a_file_of_somebody_else_is_never_replaced(run: Run, tmp_path: Path, command: str, name: str) -> None:
    _write(tmp_path, 160)
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / name).write_text('{"name": "theirs"}')
    said = run(command, *TRAIN[1:], code=2).stderr
    assert f"made/{name} is not Tocsin's and would be replaced: name another folder" in said
    assert (tmp_path / "made" / name).read_text() == '{"name": "theirs"}'
    assert [path.name for path in (tmp_path / "made").iterdir()] == [name]


def test_without_the_package_for_low_rank_updates_it_says_how_to_get_it(
    run: Run, tmp_path: Path, environment: dict[str, str]
) -> None:
    _write(tmp_path, 160)
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "peft.py").write_text("raise ImportError('no module named peft')")
    environment["PYTHONPATH"] = f"{tmp_path / 'without'}{os.pathsep}{environment['PYTHONPATH']}"
    assert "pip install 'tocsin[train]'" in run(*TRAIN, code=1).stderr


def _as_in_a_terminal() -> None:
    """What a shell starts in the background ignores an interrupt, and so does all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("kept", [False, True])
def test_a_training_that_is_interrupted_says_how_it_goes_on(
    tmp_path: Path, environment: dict[str, str], kept: bool
) -> None:
    _write(tmp_path, 160)
    command = _command(*TRAIN, "--method", "head", "--epochs", "100")
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_as_in_a_terminal,
    ) as training:
        assert training.stderr is not None
        assert "to train on" in training.stderr.readline()
        while kept and not list(tmp_path.glob("made/.training/*.safetensors")):
            assert training.poll() is None
            os.sched_yield()
        training.send_signal(signal.SIGINT)
        said = training.stderr.read().splitlines()
    assert training.returncode == 1
    what = "what was learned is kept in made: the same command goes on there" if kept else "nothing was learned yet"
    assert said[-1] == f"stopped; {what}"


def test_a_training_measures_what_it_made_and_leaves_it_to_be_promoted(run: Run, tmp_path: Path) -> None:
    _write(tmp_path, 160)
    found = json.loads(run(*TRAIN, "--method", "head", "--json").stdout)
    assert found["version"] == registry.load(tmp_path / "made").description.version
    assert found["begun_with"] == registry.load().description.version
    assert sum(found["texts"].values()) == 160
    yours = found["yours"]
    assert yours["before"]["texts"] == yours["after"]["texts"] == found["texts"]["test"]
    assert (yours["gain"] > 2 * yours["error"]) == (yours["verdict"] == "better")
    kept = measured(tmp_path / "made", found["version"])["training"]
    assert kept["yours"] == yours
    assert not (tmp_path / "made" / ".training").exists()


def test_labels_the_other_way_round_are_learned_and_said_to_be_worse_on_other_news(run: Run, tmp_path: Path) -> None:
    _write(tmp_path, 160, bad="ok", fine="bad")
    done = run(*TRAIN, "--method", "head", "--epochs", "20", "--json")
    found = json.loads(done.stdout)
    assert found["yours"]["verdict"] == "better"
    assert found["yours"]["gain"] > 0
    assert found["yours"]["after"]["accuracy"] > found["yours"]["before"]["accuracy"]
    assert found["sentences"]["verdict"] == "worse"
    assert found["sentences"]["gain"] < 0


def test_calibration_sets_probabilities_right_and_keeps_what_it_measured(run: Run, tmp_path: Path) -> None:
    _write(tmp_path, 160)
    shipped = registry.load()
    said = shipped.description
    timid = registry.save(
        tmp_path / "timid",
        shipped.head,
        Calibration(0.1, 1.5),
        base=said.base,
        topics=said.topics,
        adapter=shipped.adapter,
    )
    found = json.loads(run("calibrate", *TRAIN[1:], "--model", "timid", "--json").stdout)
    stored = registry.load(tmp_path / "made")
    assert found["version"] == stored.description.version != timid
    assert found["yours"]["after"]["ece"] < 0.1 < found["yours"]["before"]["ece"]
    assert found["yours"]["after"]["auroc"] == found["yours"]["before"]["auroc"]
    assert measured(tmp_path / "made", found["version"])["training"]["begun_with"] == timid


def test_labels_that_are_the_wrong_way_round_are_found_out(run: Run, tmp_path: Path) -> None:
    _write(tmp_path, 160, bad="ok", fine="bad")
    assert "right way round" in run("calibrate", *TRAIN[1:], code=1).stderr
