"""The compose file: what it starts, that all workers are told the same, and that compose accepts it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.cli.run import WorkerName
from pipeline.kafka.names import Names
from pipeline.settings import Settings

_ROOT = Path(__file__).resolve().parents[2]
_SECRETS = {"POSTGRES_PASSWORD": "postgres", "TOCSIN_PUSH_TOKEN": "api", "TOCSIN_SECRET_KEY": "deliver"}
#: What the names of variables that the file reads begin with.
_COMPOSED = ("TOCSIN_", "KAFKA_", "POSTGRES_")
#: What one worker is told and others are not.
_OWN = {"TOCSIN_ARCHIVE", "TOCSIN_ENGINE", "TOCSIN_PUSH_TOKEN", "TOCSIN_SECRET_KEY"}


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """Every service, with the values that variables have when nothing is set."""
    text = (_ROOT / "docker-compose.yml").read_text()
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    return dict(yaml.safe_load(re.sub(r"\$\{(\w+):\?[^}]*\}", r"\1", text))["services"])


@pytest.fixture(scope="module")
def workers(services: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The services that run a worker; the archive, of which there is one, is not among them."""
    return {name: service for name, service in services.items() if service.get("command", [])[:2] == ["tocsin", "run"]}


@pytest.mark.parametrize("worker", [worker.value for worker in WorkerName])
def test_every_worker_is_a_service_of_its_own_name(worker: str, workers: dict[str, dict[str, Any]]) -> None:
    service = workers[worker]
    assert service["command"] == ["tocsin", "run", worker]
    assert "profiles" not in service
    assert service["depends_on"]["init"] == {"condition": "service_completed_successfully"}
    assert service["restart"] == "unless-stopped"


def test_every_service_that_stays_says_whether_it_is_well(services: dict[str, dict[str, Any]]) -> None:
    silent = {name for name, service in services.items() if "test" not in service.get("healthcheck", {})}
    assert silent == {"init"}


def test_workers_are_asked_at_readyz_and_given_time_to_finish(workers: dict[str, dict[str, Any]]) -> None:
    for service in workers.values():
        assert "/readyz" in service["healthcheck"]["test"][-1]
        assert "TOCSIN_METRICS_PORT" in service["environment"]
        assert int(service["stop_grace_period"].removesuffix("s")) > 10


def test_all_workers_are_told_the_same(services: dict[str, dict[str, Any]], workers: dict[str, dict[str, Any]]) -> None:
    others = [services[name]["environment"] for name in ("init", "archive")]
    told = [*others, *(service["environment"] for service in workers.values())]
    common = [{name: value for name, value in one.items() if name not in _OWN} for one in told]
    assert all(one == common[0] for one in common)
    assert {service["image"] for service in workers.values()} == {services["init"]["image"]}


def test_what_workers_are_told_are_settings_that_load(
    workers: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("TOCSIN_")]:
        monkeypatch.delenv(name)
    for service in workers.values():
        for name, value in service["environment"].items():
            assert name.removeprefix("TOCSIN_").lower() in Settings.model_fields
            monkeypatch.setenv(name, str(value))
    settings = Settings()
    assert settings.kafka == "kafka:9092"
    assert Names.of(settings) == Names("tocsin", raw_partitions=2, signal_partitions=4, buckets=4)


def test_any_number_of_a_worker_can_run_side_by_side(workers: dict[str, dict[str, Any]]) -> None:
    for name, service in workers.items():
        # A port, a name or a worker's id that is fixed is there once.
        assert not {"container_name", "hostname"} & service.keys()
        assert "TOCSIN_WORKER" not in service["environment"]
        assert "ports" not in service or name == "api"


def test_only_who_needs_a_secret_is_given_it(services: dict[str, dict[str, Any]]) -> None:
    for secret in ("TOCSIN_PUSH_TOKEN", "TOCSIN_SECRET_KEY"):
        holders = {name for name, service in services.items() if secret in service.get("environment", {})}
        assert holders - {"tocsin"} == {_SECRETS[secret]}


def test_ports_are_open_to_this_machine_only(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_broker_makes_no_topics_and_keeps_offsets_longer_than_the_log(services: dict[str, dict[str, Any]]) -> None:
    broker = services["kafka"]["environment"]
    kept_days = int(services["ingest"]["environment"]["TOCSIN_RAW_RETENTION_DAYS"])
    assert broker["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert broker["KAFKA_OFFSETS_RETENTION_MINUTES"] > kept_days * 24 * 60
    assert broker["KAFKA_TRANSACTION_ABORT_TIMED_OUT_TRANSACTION_CLEANUP_INTERVAL_MS"] == 1000


def test_what_must_outlive_a_container_is_on_a_named_volume(services: dict[str, dict[str, Any]]) -> None:
    assert "kafka:/var/lib/kafka/data" in services["kafka"]["volumes"]
    assert services["kafka"]["environment"]["KAFKA_LOG_DIRS"] == "/var/lib/kafka/data"
    assert "postgres:/var/lib/postgresql" in services["postgres"]["volumes"]
    assert "archive:/data" in services["archive"]["volumes"]
    assert services["archive"]["environment"]["TOCSIN_ARCHIVE"].startswith("/data/")


def _compose(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run compose 2 or later; skip where there is none. It needs no Docker engine for what is asked here."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(_COMPOSED)}
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        version = subprocess.run([*command, "version", "--short"], capture_output=True, text=True, check=False)
        if version.returncode == 0 and int(version.stdout.strip().lstrip("v").split(".")[0]) >= 2:
            return subprocess.run(
                [*command, "--env-file", os.devnull, *arguments],
                cwd=_ROOT,
                env=clean | environment,
                capture_output=True,
                text=True,
                check=False,
            )
    pytest.skip("neither `docker compose` nor docker-compose 2 is installed")


@pytest.mark.parametrize("profiles", [[], ["gpu"], ["local"], ["gpu", "local"]])
def test_compose_accepts_the_file(profiles: list[str]) -> None:
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    done = _compose(*chosen, "config", "--format", "json", **dict.fromkeys(_SECRETS, "x"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["services"]
    assert {worker.value for worker in WorkerName} <= found.keys()
    assert ("score-gpu" in found, "tocsin" in found) == ("gpu" in profiles, "local" in profiles)


def test_a_secret_that_is_missing_is_named_once_with_what_to_do() -> None:
    done = _compose("config")
    assert done.returncode != 0
    for secret in _SECRETS:
        assert done.stderr.count(f"required variable {secret} is missing") == 1
    assert "openssl rand" in done.stderr
