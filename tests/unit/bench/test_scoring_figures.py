"""The figures of the bench of scoring, from runners of known speed whose labels differ by a known number."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.bench import scoring, scoring_logs
from pipeline.bench.contestant import Outcome, Runner
from pipeline.errors import ModelError
from pipeline.settings import Settings, load

Bench = Callable[[Settings, Path, Callable[[str], None]], dict[str, Any]]

TEXTS = 2000
SETTINGS = load(engine="openvino")

#: Texts a second of the usual loop, and how many times as many each engine scores.
USUAL = 10
TIMES = {"openvino": 4, "onnxruntime": 2.5}


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Texts that are their numbers."""
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": str(number)}) + "\n" for number in range(TEXTS)))
    return file


@pytest.fixture(autouse=True)
def _known_runners(monkeypatch: pytest.MonkeyPatch) -> None:
    for bench in (scoring, scoring_logs):
        monkeypatch.setattr(bench, "Contestant", _in_this_process)
        monkeypatch.setattr(bench, "usual_loop", _usual)
        monkeypatch.setattr(bench, "our_path", _ours)
        monkeypatch.setattr(bench, "reference", _exact)


def _in_this_process(make: Callable[..., Runner], *arguments: object) -> AbstractContextManager[SimpleNamespace]:
    return nullcontext(SimpleNamespace(run=make(*arguments)))


def _seconds(texts: Sequence[str], rate: float) -> float:
    """The machine is ten times as slow in the second of the five rounds."""
    slow = texts[-1].isdecimal() and TEXTS / 5 <= int(texts[-1]) < 2 * TEXTS / 5
    return len(texts) / rate * (10 if slow else 1)


def _usual() -> Runner:
    return lambda texts: Outcome(_seconds(texts, USUAL), processor_seconds=len(texts) / 5, peak_rss_mb=900)


def _ours(engine: str, *path: object) -> Runner:
    def run(texts: Sequence[str]) -> Outcome:
        if engine not in TIMES:
            raise ModelError("not on this machine")
        seconds = _seconds(texts, USUAL * TIMES[engine])
        return Outcome(
            seconds,
            processor_seconds=len(texts) / 40,
            tokenize_seconds=seconds * 0.1,
            compute_seconds=seconds * 0.7,
            tokens=3 * len(texts),
            padded_tokens=4 * len(texts),
            computed=len(texts) // 4,
            probabilities=[0.9] * len(texts),
            peak_rss_mb=700,
        )

    return run


def _exact(folder: Path | None, kind: str) -> Runner:
    """What is not bad in fp32: raw, one text in 40 from the first on; as templates, one in 500."""

    def fine(number: int) -> bool:
        return number % 40 == 0 if kind == "news" else number % 500 == 250

    return lambda texts: Outcome(1, probabilities=[0.2 if fine(int(text)) else 0.9 for text in texts])


def test_every_engine_is_measured_against_the_usual_loop(texts: Path) -> None:
    found = scoring.bench_scoring(SETTINGS, texts, lambda said: None)
    assert found["engine"] == "openvino"
    assert {key: found[key] for key in ("texts", "texts_per_second", "ratio", "ratio_of_each_round")} == {
        "texts": TEXTS,
        "texts_per_second": 40,
        "ratio": 4,
        "ratio_of_each_round": [4] * 5,
    }
    assert found["processor_ratio"] == 8
    assert found["hf_pipeline"] == {"texts_per_second": USUAL, "texts": 5 * 320, "peak_rss_mb": 900}
    assert found["peak_rss_mb"] == 700
    assert (found["engines"]["onnxruntime"]["ratio"], found["engines"]["onnxruntime"]["texts_per_second"]) == (2.5, 25)
    assert found["engines"]["torch"] == {"skipped": "not on this machine"}


def test_the_share_of_padding_and_of_each_step_is_that_of_the_default_engine(texts: Path) -> None:
    found = scoring.bench_scoring(SETTINGS, texts, lambda said: None)
    assert found["padding_share"] == 0.25
    assert found["time_shares"] == {"tokenize": 0.1, "compute": 0.7, "rest": 0.2}
    assert found["tokens_per_second"] == round(3 * TEXTS / (TEXTS / 5 / 40 * (1 + 10 + 1 + 1 + 1)))


def test_labels_of_the_default_engine_are_compared_with_those_of_fp32(texts: Path) -> None:
    found = scoring.bench_scoring(SETTINGS, texts, lambda said: None)
    assert (found["flips_per_1000"], found["largest_change"]) == (25, 0.7)


def test_log_lines_are_measured_against_the_usual_loop(texts: Path) -> None:
    found = scoring_logs.bench_log_scoring(SETTINGS, texts, lambda said: None)
    assert (found["engine"], found["lines"]) == ("openvino", TEXTS)
    assert (found["ratio"], found["processor_ratio"]) == (4, 8)
    slowed = 5 / (1 + 10 + 1 + 1 + 1)
    assert found["lines_per_second"] == round(4 * USUAL * slowed, 1)
    assert found["hf_pipeline"]["lines_per_second"] == round(USUAL * slowed, 1)
    assert (found["computed"], found["hit_rate"]) == (TEXTS / 4, 0.75)


def test_what_an_engine_flips_and_what_masking_flips_are_counted_apart(
    texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring_logs, "RAW_SAMPLE", TEXTS // 4)
    found = scoring_logs.bench_log_scoring(SETTINGS, texts, lambda said: None)
    assert found["flips_per_1000"] == 2
    assert (found["raw_lines_compared"], found["masking_flips_per_1000"]) == (TEXTS / 4, 100)


@pytest.mark.parametrize("bench", [scoring.bench_scoring, scoring_logs.bench_log_scoring])
def test_an_engine_that_cannot_run_is_an_error_where_it_is_the_default(
    texts: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(TIMES, "openvino")
    with pytest.raises(ModelError, match="not on this machine"):
        bench(SETTINGS, texts, lambda said: None)
