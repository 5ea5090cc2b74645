"""Where a broker for tests comes from, and what is said when it cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ConfigurationError, ServerStartFailed
from pipeline.servers import kafka_broker
from pipeline.servers.kafka_broker import KafkaHome, java


def unpacked(folder: Path) -> Path:
    """A folder that looks like an unpacked Kafka."""
    (folder / "libs").mkdir(parents=True)
    (folder / "libs" / "kafka_2.13-4.3.1.jar").touch()
    return folder


@pytest.fixture
def checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A checkout with nothing beside it."""
    monkeypatch.delenv("KAFKA_HOME", raising=False)
    monkeypatch.setattr(kafka_broker, "_REPOSITORY", tmp_path / "tocsin")
    return tmp_path / "tocsin"


def test_what_kafka_home_names_comes_first(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked(tmp_path / "shared" / "kafka")
    named = unpacked(tmp_path / "named")
    monkeypatch.setenv("KAFKA_HOME", str(named))
    assert KafkaHome.find().libs == named / "libs"


def test_without_kafka_home_it_is_looked_for_beside_the_checkout(checkout: Path, tmp_path: Path) -> None:
    beside = unpacked(tmp_path / "shared" / "kafka")
    assert KafkaHome.find().path == beside


def test_where_there_is_none_it_is_said_how_to_get_one(checkout: Path) -> None:
    with pytest.raises(ServerStartFailed, match=r"KAFKA_BOOTSTRAP .*KAFKA_HOME .*kafka\.apache\.org.*Java 17"):
        KafkaHome.find()


def test_a_kafka_home_that_holds_no_kafka_is_refused(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked(tmp_path / "shared" / "kafka")
    monkeypatch.setenv("KAFKA_HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match=f"KAFKA_HOME is {tmp_path}"):
        KafkaHome.find()


def java_that_says(folder: Path, version: str) -> None:
    program = folder / "bin" / "java"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-04-15' >&2\n")
    program.chmod(0o755)


@pytest.mark.parametrize("version", ["17.0.15", "21", "25-ea"])
def test_a_java_that_is_new_enough_is_taken(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java_that_says(tmp_path, version)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert java() == str(tmp_path / "bin" / "java")


@pytest.mark.parametrize(("version", "named"), [("1.8.0_392", "Java 8"), ("11.0.2", "Java 11")])
def test_a_java_that_is_too_old_is_named(
    version: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java_that_says(tmp_path, version)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ServerStartFailed, match=f"is {named}: Kafka needs Java 17 or newer"):
        java()


def test_without_java_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerStartFailed, match="no Java on the path: Kafka needs Java 17"):
        java()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(ServerStartFailed, match="does not run"):
        java()
