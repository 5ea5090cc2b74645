"""A classifier that is promoted on one machine scores on all of them, without a restart."""

from __future__ import annotations

import gc
import socket
import weakref
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from deployed import Deployment, running, wait_until
from pydantic import SecretStr
from sqlalchemy import Engine as Database
from versions import Named, load, promoted

import model.engines.choose
import pipeline.runtime.live_model
from pipeline.kafka import api, ingest, score
from pipeline.kafka.classifier import Classifier
from pipeline.settings import Settings

CLOCK = "logs/push/0"


def _item(number: int) -> dict[str, object]:
    return {"id": f"i{number}", "time": "2024-05-06T00:00:00Z", "text": f"disk {number} failed", "source": "a"}


@pytest.fixture
def deployment(
    kafka_settings: Settings, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Deployment:
    monkeypatch.setattr(pipeline.runtime.live_model, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(model.engines.choose, "load_engine", lambda name, *, folder, topics, base: load(folder))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    given = {"database_url": SecretStr(database_url), "data": tmp_path / "worker", "port": port}
    made = Deployment(kafka_settings.model_copy(update=given))
    made.apply()
    return made


def _models(deployment: Deployment) -> list[str]:
    found = sorted(deployment.scores(), key=lambda one: one.slice.start)
    return [one.model for one in found if one.slice.signals]


def test_every_worker_takes_what_was_promoted_elsewhere(
    deployment: Deployment, engine: Database, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{deployment.settings.port}/v1/score"

    def answered() -> str:
        try:
            answer = httpx.post(url, json={"items": [{"text": "disk failed"}]}, trust_env=False, timeout=30)
        except httpx.TransportError:
            return "nothing"
        return str(answer.json().get("model"))

    with running(ingest.run, deployment.context("ingest")):
        with running(score.run, deployment.context("score")), running(api.run, deployment.context("api")):
            deployment.send_items(CLOCK, [_item(1)])
            wait_until(lambda: _models(deployment) == ["shipped"], "the first score")
            wait_until(lambda: answered() == "shipped", "the API")
            version = promoted(engine, tmp_path / "elsewhere", 2.0)
            wait_until(lambda: answered() == version, "the API with what was promoted")
            # The folder is there before the worker loads it: it scores with it from its next look on.
            wait_until(lambda: _scores_with(deployment, version), "scores of what was promoted")
        with running(score.run, deployment.context("score")):  # the next start begins with it
            deployment.send_items(CLOCK, [_item(1000)])
            before = len(_models(deployment))
            wait_until(lambda: len(_models(deployment)) > before, "a score after the restart")
            assert _models(deployment)[-1] == version


def _scores_with(deployment: Deployment, version: str) -> bool:
    """Send one more item, and look at the last score."""
    sent = len(_models(deployment))
    deployment.send_items(CLOCK, [_item(1 + sent)])
    wait_until(lambda: len(_models(deployment)) > sent, "a score")
    return _models(deployment)[-1] == version


def test_with_postgres_away_scores_are_refused_and_a_worker_that_starts_waits(deployment: Deployment) -> None:
    away = SecretStr("postgresql://nobody@127.0.0.1:1/none")
    deployment = Deployment(deployment.settings.model_copy(update={"database_url": away}))
    deployment.apply()
    url = f"http://127.0.0.1:{deployment.settings.port}/v1/score"

    def answered() -> int:
        try:
            return httpx.post(url, json={"items": [{"text": "a"}]}, trust_env=False, timeout=30).status_code
        except httpx.TransportError:
            return 0

    with running(api.run, deployment.context("api")), running(score.run, deployment.context("score")) as worker:
        wait_until(lambda: answered() == 503, "an answer that says so")
        wait_until(lambda: "classifier" in str(worker.health.states()), "a worker that waits")
        assert "Postgres" in str(worker.health.states()["classifier"])


def test_what_a_promotion_replaces_is_held_by_nobody(
    deployment: Deployment, engine: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[Named]] = []

    def noted(name: str, *, folder: Path | None, **_: object) -> Named:
        loaded = load(folder)
        held.append(weakref.ref(loaded))
        return loaded

    monkeypatch.setattr(model.engines.choose, "load_engine", noted)
    with ExitStack() as stack:
        classifier = Classifier(deployment.context("score"), stack)
        classifier.follow()
        version = promoted(engine, tmp_path / "elsewhere", 2.0)
        wait_until(lambda: classifier.now().version == version, "what was promoted")
        gc.collect()
        assert [one() is None for one in held] == [True, False]


def test_without_a_database_the_shipped_one_scores(deployment: Deployment) -> None:
    alone = Deployment(deployment.settings.model_copy(update={"database_url": None, "kafka_prefix": "alone"}))
    alone.apply()
    with running(ingest.run, alone.context("ingest")), running(score.run, alone.context("score")):
        alone.send_items(CLOCK, [_item(1)])
        wait_until(lambda: _models(alone) == ["shipped"], "a score")
