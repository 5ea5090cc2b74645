"""A pipeline that follows what is promoted: between two slices, and past a version that cannot be loaded."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest
from live import Live, until
from sqlalchemy import Engine as Database
from sqlalchemy import delete
from structlog.testing import capture_logs
from versions import Named, load, promoted

import model.engines.choose
import pipeline.runtime.live_model
from alerts.store import transaction
from alerts.tables import model_files
from pipeline.journal.score_log import ScoreLog
from pipeline.records import Signal, SignalSlice
from pipeline.runtime.live_model import LiveModel
from pipeline.runtime.model_folder import ModelFolder
from pipeline.scoring.engine import Engine
from pipeline.scoring.scorer import Scorer

STREAMS = """
[streams.logs]
kind = "logs"
tick = "1m"
clock = "data"
group = ["source"]
[[streams.logs.sources]]
kind = "push"
"""


def test_a_version_that_cannot_be_loaded_is_told_once_and_the_next_one_is_taken(
    engine: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.runtime.live_model, "LOOK_EVERY_S", 0.02)
    live = LiveModel(Named("shipped"), engine, ModelFolder(tmp_path / "models"), load)
    looks: list[str] = []
    look = live.look

    def counted() -> None:
        looks.append(live.engine.version)
        look()

    monkeypatch.setattr(live, "look", counted)
    bad = promoted(engine, tmp_path, 2.0)
    with transaction(engine) as connection:
        connection.execute(delete(model_files))
    (tmp_path / "models" / bad / "weights.safetensors").write_bytes(b"damaged")
    with capture_logs() as logs, live.following():
        until(lambda: len(looks) > 3)
        assert set(looks) == {"shipped"}
        good = promoted(engine, tmp_path, 3.0)
        until(lambda: live.engine.version == good)
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("classifier_not_loaded", "error"),
        ("classifier_loaded", "info"),
    ]
    assert bad in logs[0]["error"]
    assert logs[0]["kind"] == "ModelError"


def _slice(texts: list[str]) -> SignalSlice:
    signals = [Signal(i, str(i), 0, 0, False, text, "s") for i, text in enumerate(texts)]
    return SignalSlice("news", "d", "news/p", 0, len(texts), False, 0, [0], signals, 0, [])


def test_a_slice_under_way_is_finished_by_the_version_that_began_it() -> None:
    first, second = Named("first"), Named("second")
    now: list[Engine] = [first]
    first.meanwhile = lambda: now.append(second)
    scorer = Scorer(first, cache_entries=10, batch_tokens=100, live=lambda: now[-1])
    texts = ["one", "two"]
    begun, after = scorer.score(_slice(texts), "news"), scorer.score(_slice(texts), "news")
    assert (begun.model, after.model) == ("first", "second")
    assert scorer.cache.hits == 0  # what the first one said is no score of the second


def test_a_running_pipeline_takes_what_is_promoted_and_no_score_is_named_wrongly(
    tmp_path: Path, database_url: str, engine: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.runtime.live_model, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(model.engines.choose, "load_engine", lambda name, *, folder, topics, base: load(folder))
    live = Live(tmp_path, database_url, STREAMS)
    item = {"time": "2024-05-06T10:00:00Z", "text": "disk failed", "source": "web"}
    with live.up(lambda: Named("shipped")):
        live.push(item)
        live.folded()
        assert _answered(live) == "shipped"
        version = promoted(engine, tmp_path / "data", 2.0)
        until(lambda: _answered(live) == version)
        live.push(item)
        live.folded()
    recorded = ScoreLog(tmp_path / "data" / "scores" / "logs" / "push")
    assert [one.model for one in recorded.read() if one.slice.signals] == ["shipped", version]
    recorded.close()
    with live.up(lambda: Named("shipped")):  # the next start begins with it
        assert _answered(live) == version


def test_what_a_promotion_replaces_is_held_by_nobody(
    tmp_path: Path, database_url: str, engine: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.runtime.live_model, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(model.engines.choose, "load_engine", lambda name, *, folder, topics, base: load(folder))
    held: list[weakref.ref[Named]] = []

    def shipped() -> Named:
        engine = Named("shipped")
        held.append(weakref.ref(engine))
        return engine

    live = Live(tmp_path, database_url, STREAMS)
    item = {"time": "2024-05-06T10:00:00Z", "text": "disk failed", "source": "web"}
    with live.up(shipped):
        live.push(item)
        live.folded()
        version = promoted(engine, tmp_path / "data", 2.0)
        until(lambda: _answered(live) == version)
        live.push(item)
        live.folded()
        gc.collect()
        assert held[0]() is None


def _answered(live: Live) -> str:
    answer = live.post("/v1/score", b'{"items": [{"text": "disk failed"}]}', content_type="application/json")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["model"])
