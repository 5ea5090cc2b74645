"""`tocsin bench scoring` from end to end, on a few made-up texts: all its figures are there and fit together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from pipeline.bench.scoring_runners import Metered, usual_loop
from pipeline.cli import commands
from pipeline.cli.main import app
from pipeline.scoring.null_engine import NullEngine
from pipeline.scoring.text_scores import TextScores

commands.register(app)
RUNNER = CliRunner()


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    file = tmp_path / "texts.jsonl"
    lines = [f"Jun {day} 10:00:00 web sshd[{day}]: failed password for root, attempt {day}" for day in range(1, 25)]
    lines += [f"{word} fails to open the file " + "and waits " * count for word in "abcd" for count in (0, 3, 60)]
    file.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    return file


def test_every_engine_is_beside_the_usual_loop(texts: Path) -> None:
    result = RUNNER.invoke(app, ["bench", "scoring", "--texts", str(texts), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    engines = found["engines"]
    assert {"openvino", "torch"} <= set(engines)
    assert found["texts"] == 36
    assert found["ratio"] == engines[found["engine"]]["ratio"] > 0
    assert all(one["texts_per_second"] > 0 and one["ratio"] > 0 for one in engines.values() if "skipped" not in one)
    assert found["processor_ratio"] > 0
    assert found["hf_pipeline"]["texts_per_second"] > 0
    assert found["flips_per_1000"] == 0
    assert 0 < found["largest_change"] < 0.1 or found["engine"] == "torch"
    assert 0 <= found["padding_share"] < 1
    assert sum(found["time_shares"].values()) == pytest.approx(1, abs=0.01)
    assert found["peak_rss_mb"] > 50


def test_log_lines_share_the_scores_of_their_templates(texts: Path) -> None:
    result = RUNNER.invoke(app, ["bench", "scoring", "--logs", "--texts", str(texts), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["lines"], found["computed"]) == (36, 13)
    assert found["hit_rate"] == pytest.approx(1 - 13 / 36, abs=1e-4)
    assert found["ratio"] > 0
    assert found["flips_per_1000"] == 0
    assert 0 <= found["masking_flips_per_1000"] <= 1000
    assert found["raw_lines_compared"] == 36


def test_the_null_engine_is_no_classifier_to_measure(texts: Path) -> None:
    result = RUNNER.invoke(app, ["bench", "scoring", "--texts", str(texts)], env={"TOCSIN_ENGINE": "null"})
    assert result.exit_code != 0
    assert "TOCSIN_ENGINE" in str(result.exception)


def test_the_usual_loop_computes_batches_of_32_cut_to_256_tokens_in_fp32() -> None:
    words: list[tuple[torch.Size, torch.dtype]] = []

    def noted(module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, torch.nn.Embedding) and module.num_embeddings > 10_000:
            words.append((given[0].shape, module.weight.dtype))

    run = usual_loop()
    with torch.nn.modules.module.register_module_forward_pre_hook(noted):
        outcome = run([*["it waits"] * 66, "and waits " * 300])
    assert [(*shape, precision) for shape, precision in words] == [
        (32, 4, torch.float32),
        (32, 4, torch.float32),
        (3, 256, torch.float32),
    ]
    assert outcome.computed == 67


def test_the_meter_counts_and_changes_nothing() -> None:
    texts = ["one", "two", "three"]
    metered = Metered(NullEngine())
    scores = TextScores(metered, cache_entries=9, batch_tokens=32).score([*texts, "one"], "news")
    assert scores == TextScores(NullEngine(), cache_entries=9, batch_tokens=32).score([*texts, "one"], "news")
    assert (metered.computed, metered.tokens, metered.padded_tokens) == (3, 3, 48)
    metered.start()
    assert (metered.computed, metered.tokens, metered.padded_tokens, metered.compute_seconds) == (0, 0, 0, 0)
