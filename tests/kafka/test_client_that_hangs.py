"""A client that does not come back from a call, as librdkafka's may after its broker was killed within a transaction.

Nobody can have that at will, so the producer here stands still by itself; all else is real.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog.testing
from confluent_kafka import Producer
from deployed import Deployment, running, wait_until

from pipeline.kafka import ingest, transactional_writer
from pipeline.settings import Settings

CLOCK = "logs/push/0"
ITEM = {"text": "disk failed", "time": "2024-05-06T00:00:00Z", "source": "a"}


class Hanging(Producer):
    """A producer of which the first that there is hangs before it sends offsets, until it is let go."""

    made: list[Hanging]
    let_go: threading.Event
    hangs: threading.Event
    came_back: list[BaseException | None]
    purged: list[Hanging]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.made.append(self)

    def purge(self, *args: Any, **more: Any) -> None:
        self.purged.append(self)
        super().purge(*args, **more)

    def send_offsets_to_transaction(self, *args: Any) -> None:
        if self is not self.made[0]:
            super().send_offsets_to_transaction(*args)
            return
        self.hangs.set()
        self.let_go.wait()
        try:
            super().send_offsets_to_transaction(*args)
            self.came_back.append(None)
        except BaseException as error:
            self.came_back.append(error)
            raise


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hanging]]:
    class Fresh(Hanging):
        made: list[Hanging] = []  # noqa: RUF012 - one of its own for each test
        let_go, hangs = threading.Event(), threading.Event()
        came_back: list[BaseException | None] = []  # noqa: RUF012
        purged: list[Hanging] = []  # noqa: RUF012

    monkeypatch.setattr(transactional_writer, "Producer", Fresh)
    yield Fresh
    Fresh.let_go.set()


@pytest.fixture
def deployment(kafka_settings: Settings) -> Deployment:
    made = Deployment(kafka_settings)
    made.apply()
    made.send_items(CLOCK, [ITEM] * 3)
    return made


def transactions() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "transaction"]


def test_it_is_given_up_in_time_and_what_it_does_later_is_in_no_log(
    deployment: Deployment, hanging: type[Hanging], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactional_writer, "GIVE_UP_S", 1.0)
    monkeypatch.setattr(transactional_writer, "ATTEMPT_S", 1.0)
    place = deployment.names.raw_place(CLOCK)
    with structlog.testing.capture_logs() as logs, running(ingest.run, deployment.context("ingest")):
        assert hanging.hangs.wait(30)
        began_s = time.monotonic()
        [hung] = transactions()
        wait_until(lambda: len(hanging.made) == 2, "another session", 20)
        assert 1.9 < time.monotonic() - began_s < 10
        wait_until(lambda: deployment.covered("ingest", *place) == 3, "the new session to write", 30)
        assert hung.is_alive()
        assert hanging.purged == hanging.made[:1]  # what it still held does not come later
        hanging.let_go.set()
        hung.join(30)
        assert not hung.is_alive()
        assert hanging.came_back != [None]  # the broker has refused it
        deployment.send_items(CLOCK, [ITEM])
        wait_until(lambda: deployment.covered("ingest", *place) == 4, "ingest to go on", 30)
    slices = deployment.slices(deployment.names.signals)
    assert [slice.start for slice in slices] == [0, *(slice.end for slice in slices[:-1])]
    assert sum(len(slice.signals) for slice in slices) == 4
    assert "Kafka's client does not come back from a transaction" in [entry.get("error") for entry in logs]


def test_who_is_told_to_stop_meanwhile_stops_within_ten_seconds(deployment: Deployment, hanging: type[Hanging]) -> None:
    with running(ingest.run, deployment.context("ingest")) as context:
        assert hanging.hangs.wait(30)
        context.stop.set()
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 10
    assert transactions()  # it still hangs
    assert deployment.slices(deployment.names.signals) == []
