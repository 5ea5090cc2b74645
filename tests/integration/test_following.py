"""A pipeline that follows what is promoted: a version that cannot be loaded is told once, and does not end it."""

from __future__ import annotations

from pathlib import Path

import pytest
from live import until
from sqlalchemy import Engine as Database
from sqlalchemy import delete
from structlog.testing import capture_logs
from versions import Named, load, promoted

import pipeline.runtime.live_model
from alerts.store import transaction
from alerts.tables import model_files
from pipeline.runtime.live_model import LiveModel
from pipeline.runtime.model_folder import ModelFolder


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
