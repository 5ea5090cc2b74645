"""The port of a worker: what it says of itself over HTTP."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipeline.errors import ConfigurationError
from pipeline.kafka.health import Health
from pipeline.kafka.worker import Context, observed
from pipeline.settings import Settings
from pipeline.stream_file import load


@contextmanager
def _worker(port: int = 0) -> Iterator[tuple[Context, int]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        chosen = port or free.getsockname()[1]
    context = Context(settings=Settings(metrics_port=chosen), file=load(None), health=Health("score"))
    with observed(context) as port:
        yield context, port


def _get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_worker_that_has_not_heard_of_its_dependencies_lives_and_is_not_ready() -> None:
    with _worker() as (_, port):
        assert _get(port, "/healthz")[0] == 200
        assert _get(port, "/readyz")[0] == 503


def test_readyz_says_which_dependency_is_away() -> None:
    with _worker() as (context, port):
        context.health.ok("classifier")
        context.health.trouble("kafka", "no broker answers")
        status, body = _get(port, "/readyz")
        assert status == 503
        assert json.loads(body)["states"] == {"classifier": "ok", "kafka": "no broker answers"}
        context.health.ok("kafka")
        assert _get(port, "/readyz")[0] == 200


def test_metrics_say_which_dependency_is_away() -> None:
    with _worker() as (context, port):
        context.health.ok("classifier")
        context.health.trouble("kafka", "no broker answers")
        said = _get(port, "/metrics")[1]
        assert 'tocsin_dependency_up{dependency="classifier"} 1.0' in said
        assert 'tocsin_dependency_up{dependency="kafka"} 0.0' in said
        context.health.ok("kafka")
        assert 'tocsin_dependency_up{dependency="kafka"} 1.0' in _get(port, "/metrics")[1]


def test_another_path_names_the_three() -> None:
    with _worker() as (_, port):
        assert _get(port, "/")[0] == 404
        assert "/readyz" in _get(port, "/")[1]


def test_a_port_that_is_taken_is_named_with_the_setting() -> None:
    with _worker() as (_, port), pytest.raises(ConfigurationError, match="set TOCSIN_METRICS_PORT"), _worker(port):
        pass
