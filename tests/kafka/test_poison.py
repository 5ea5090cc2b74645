"""Whatever anybody writes to a raw topic ends as a dead letter; the partition goes on."""

from __future__ import annotations

import pytest
from deployed import Deployment, running, wait_until

from pipeline.kafka import ingest, wire
from pipeline.kafka.readback import read_back
from pipeline.records import LostItem, decode
from pipeline.settings import Settings
from pipeline.streams import Turn, adapted

CLOCK = "logs/push/0"


@pytest.fixture
def deployment(kafka_settings: Settings) -> Deployment:
    made = Deployment(kafka_settings)
    made.apply()
    return made


def test_poison_becomes_dead_letters_and_the_items_around_it_are_counted(deployment: Deployment) -> None:
    item = {"time": "2024-05-06T00:00:00Z", "text": "disk failed"}
    definition = deployment.registry.turn("logs", 1).definition
    poison: list[tuple[bytes | None, wire.Headers]] = [
        (None, []),
        (b"", [("tocsin", b"explode")]),
        (b"\xff" * 1000, [("form", b"json")]),
        (b"x" * 2**20 + b"x", []),
        (b"[" * 100_000, [("form", b"json")]),
        (b"9" * 18, [("tocsin", b"heartbeat")]),
        (b"{}", [("tocsin", b"define")]),
        wire.define(Turn(2, adapted(definition, tick_us=1))),
        wire.define(Turn(2**80, adapted(definition, name="news"))),
    ]
    for value, headers in poison:
        deployment.send_items(CLOCK, [item])
        deployment.send(CLOCK, [value], headers)  # type: ignore[list-item]
    deployment.send_items(CLOCK, [item])
    places = 2 * len(poison) + 1
    with running(ingest.run, deployment.context("ingest")):
        wait_until(lambda: deployment.covered("ingest", *deployment.names.raw_place(CLOCK)) == places, "ingest")
    slices = deployment.slices(deployment.names.signals)
    assert sum(len(slice.signals) for slice in slices) == len(poison) + 1
    assert {slice.definition for slice in slices} == {definition.version}
    dead = [
        decode(message.value() or b"", LostItem)
        for partition in range(deployment.names.signal_partitions)
        for message in read_back(deployment.settings, deployment.names.dead, partition, 0)
    ]
    assert [lost.letter.position for lost in dead] == [2 * n + 1 for n in range(len(poison))]
    assert [lost.letter.payload for lost in dead] == [value or b"" for value, _ in poison]
