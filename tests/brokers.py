"""A real broker for the session, and settings under which each test has a deployment of its own on it."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from pipeline.errors import ServerStartFailed
from pipeline.kafka.topic_admin import TopicAdmin
from pipeline.servers.kafka_broker import KafkaHome, LocalBroker, java
from pipeline.settings import Settings
from pipeline.stream_file import StreamFile, parse

#: What a test without a broker is skipped for begins with this.
_WITHOUT_KAFKA = "no Kafka for it: "


@pytest.fixture(scope="session")
def kafka_home() -> KafkaHome:
    """What a broker can be started from; else the test is skipped."""
    try:
        home = KafkaHome.find()
        java()
        return home
    except ServerStartFailed as error:
        pytest.skip(f"{_WITHOUT_KAFKA}{error}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once why no test ran on a broker: a hundred skipped tests are easily overlooked."""
    skipped = terminalreporter.stats.get("skipped", ())
    reasons = (report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple))
    why = next((reason.partition(_WITHOUT_KAFKA)[2] for reason in reasons if _WITHOUT_KAFKA in reason), "")
    if why:
        terminalreporter.write_line(f"Tests that need Kafka were skipped: {why}", yellow=True)


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the broker of the session is: the one that KAFKA_BOOTSTRAP names, else one started for it."""
    given = os.environ.get("KAFKA_BOOTSTRAP")
    if given:
        yield given
        return
    home: KafkaHome = request.getfixturevalue("kafka_home")
    with (
        tempfile.TemporaryDirectory(prefix="tocsin-kafka-", ignore_cleanup_errors=True) as folder,
        LocalBroker(Path(folder), home.libs) as broker,
    ):
        yield broker.bootstrap


@pytest.fixture
def kafka_settings(kafka: str, tmp_path: Path) -> Iterator[Settings]:
    """Settings of a deployment of this test's own: 2 buckets, 2 signal partitions; its topics go with the test."""
    prefix = f"test-{uuid.uuid4().hex[:12]}"
    yield Settings(
        data=tmp_path / "data",
        kafka=kafka,
        kafka_prefix=prefix,
        kafka_raw_partitions=1,
        kafka_signal_partitions=2,
        buckets=2,
    )
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    ours = [name for name in admin.list_topics(timeout=10).topics if name.startswith(f"{prefix}.")]
    if ours:
        for future in admin.delete_topics(ours).values():
            future.result()


@pytest.fixture
def make_topics(kafka_settings: Settings) -> Callable[[str], StreamFile]:
    """Makes all topics for a stream file, given as text; returns the file as it was read."""

    def make(text: str) -> StreamFile:
        file = parse(text, "the streams of the test")
        TopicAdmin(kafka_settings, file.streams.values()).create()
        return file

    return make
