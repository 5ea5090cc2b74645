"""How many signals a second go from a raw topic to committed surges.

The raw topic is filled first, and the workers behind ingest have joined their groups before ingest is started. The
time is that from ingest's first slice at Kafka, whose signals are not counted, to the last transition in Postgres.
Afterwards the transitions are compared with those of the local runtime on the same raw log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from sqlalchemy import Engine, func, select

from alerts import schema
from alerts.store import create_engine, transaction
from alerts.tables import transitions
from pipeline.bench.compare import fates, local_run, stored
from pipeline.bench.deployment import BenchDeployment
from pipeline.bench.fleet import Fleet
from pipeline.bench.items import ITEMS_A_TICK, end_us, items
from pipeline.bench.processor_time import ProcessorTime, per_million
from pipeline.clock import now_us
from pipeline.detect.digest import digest
from pipeline.errors import TocsinError
from pipeline.instants import SECOND_US
from pipeline.kafka import wire
from pipeline.kafka.client import connection, producer_config
from pipeline.kafka.cluster import Cluster
from pipeline.kafka.readback import read_back
from pipeline.kafka.step import Place
from pipeline.records import SignalSlice, decode
from pipeline.servers.postgres import LocalPostgres

STREAM, SOURCE = "logs", "push"
#: One process of each.
KINDS = ("score", "aggregate", "dispatch", "ingest")
#: Ticks beyond the last item that a heartbeat closes.
_BEYOND_TICKS = 30
_JOIN_S, _DRAIN_S, _QUIET_S = 120.0, 600.0, 5.0
#: Seconds between two looks for new transitions: the last one is seen so much too late at the most.
_LOOK_S = 0.1

STREAMS = f"""
[streams.{STREAM}]
kind = "logs"
tick = "1m"
lateness = "0s"
clock = "data"
group = ["source"]
member = ["host"]
overall = true
[[streams.{STREAM}.sources]]
name = "{SOURCE}"
kind = "push"
"""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    """Wall-clock times of a run in microseconds; `head` signals came in the slice at `begin_us`."""

    begin_us: int
    end_us: int
    head: int


def throughput(
    deployment: BenchDeployment, *, signals: int, keys: int, say: Say, per_tick: int = ITEMS_A_TICK
) -> dict[str, Any]:
    """One run on a deployment of `STREAMS`; the figures. Raises TocsinError when not all comes through."""
    say(f"writing {signals:,} items to the raw topic")
    _preload(deployment, signals, keys, per_tick)
    database = create_engine(deployment.database_url)
    fleet = Fleet(deployment.folder, deployment.environment)
    for kind in KINDS:
        fleet.add(kind, 1)
    servers = {"broker": deployment.broker.pid, "postgres": deployment.postgres.pid}
    try:
        with ProcessorTime(servers) as used:
            for kind in KINDS:
                if kind == "ingest":
                    wait_joined(deployment, [one for one in KINDS if one != "ingest"])
                    say("the workers have joined their groups; starting ingest")
                for worker in fleet.of(kind):
                    fleet.start(worker)
                    assert worker.process is not None
                    used.add(kind, worker.process.pid)
            times = _run(deployment, fleet, database, say)
        for worker in fleet.workers:
            fleet.stop(worker)
        said = stored(database)
    finally:
        fleet.end()
        database.dispose()
    say("comparing with the local runtime on the same raw log")
    with LocalPostgres(deployment.folder / "local-postgres").running() as url:
        schema.upgrade(url)
        local = local_run(deployment, url)
    counted = fates(deployment)["counted"]
    seconds = (times.end_us - times.begin_us) / SECOND_US
    taken = signals - times.head
    return {
        "signals": signals,
        "keys": keys,
        "counted": counted,
        "transitions": len(said),
        "digest_equal": digest(said) == digest(local) and len(said) == len(local),
        "seconds": round(seconds, 3),
        "signals_per_second": round(taken / seconds),
        "cpu_seconds_per_million": per_million(used.between(times.begin_us, times.end_us), taken),
    }


def wait_joined(deployment: BenchDeployment, kinds: Iterable[str]) -> None:
    """Wait until the workers of these kinds have been given their partitions."""
    admin = AdminClient(connection(deployment.settings))
    groups = [deployment.names.group(kind) for kind in kinds]
    until_s = time.monotonic() + _JOIN_S
    while True:
        found = admin.describe_consumer_groups(groups, request_timeout=10)
        try:
            states = [(one.result().state, one.result().members) for one in found.values()]
            if all(state == ConsumerGroupState.STABLE and members for state, members in states):
                time.sleep(1.0)  # the last of them has what it was given a moment later
                return
        except KafkaException:
            pass  # a group that nobody has joined yet
        if time.monotonic() > until_s:
            raise TocsinError(f"not all of {', '.join(groups)} have joined in {_JOIN_S:g} s; their logs say why")
        time.sleep(0.2)


def _preload(deployment: BenchDeployment, signals: int, keys: int, per_tick: int) -> None:
    names = deployment.names
    topic = names.raw(STREAM, SOURCE)
    failed: list[KafkaError] = []
    producer = Producer(producer_config(deployment.settings) | {"linger.ms": 50})

    def write(partition: int, value: bytes, headers: wire.Headers | None = None) -> None:
        while True:
            try:
                producer.produce(
                    topic,
                    value,
                    partition=partition,
                    headers=headers or [],
                    on_delivery=lambda error, _: failed.append(error) if error else None,
                )
                return
            except BufferError:
                producer.poll(0.1)

    for number, item in enumerate(items(signals, keys, last=True, per_tick=per_tick)):
        payload = item.encode()
        value, headers = wire.item_message(payload, form="json", source=SOURCE, usual_source=SOURCE)
        write(number % names.raw_partitions, value, headers)
        if number % 1000 == 0:
            producer.poll(0)
    for partition in range(names.raw_partitions):
        write(partition, *wire.heartbeat(end_us(signals, _BEYOND_TICKS, per_tick=per_tick)))
    if producer.flush(120) or failed:
        raise TocsinError(f"the raw topic could not be filled: {failed[:1]}")


def _run(deployment: BenchDeployment, fleet: Fleet, database: Engine, say: Say) -> _Times:
    """Wait until everything has come through."""
    until_s = time.monotonic() + _DRAIN_S
    cluster, ingested = Cluster(deployment.settings), False
    last, last_us, told_s = 0, now_us(), time.monotonic()
    while True:
        with transaction(database) as connection:
            count = connection.scalar(select(func.count()).select_from(transitions)) or 0
        if count > last:
            last, last_us = count, now_us()
        if ingested and now_us() - last_us > _QUIET_S * SECOND_US and not _unread(deployment):
            break
        if fleet.ended() or time.monotonic() > until_s:
            raise TocsinError(f"not all came through; {fleet.ended() or 'every worker still runs'}")
        if not ingested and time.monotonic() - told_s > 2:  # seldom: what asks takes processor time as well
            told_s = time.monotonic()
            ingested = _is_ingested(deployment, cluster)
        time.sleep(_LOOK_S)
    if not last:
        raise TocsinError("no surge came of these items: too few of them for a detector to learn what is usual")
    begin_us, head = _begin(deployment)
    return _Times(begin_us=begin_us, end_us=last_us, head=head)


def _is_ingested(deployment: BenchDeployment, cluster: Cluster) -> bool:
    topic = deployment.names.raw(STREAM, SOURCE)
    places = [Place(topic, partition) for partition in range(deployment.names.raw_partitions)]
    committed = cluster.committed(deployment.names.group("ingest"))
    ends = cluster.bounds(places)
    return all(place in committed and committed[place].offset >= ends[place].end for place in places)


def _unread(deployment: BenchDeployment) -> bool:
    """Whether a worker behind ingest has still something to read."""
    names = deployment.names
    read = {"score": [names.signals], "aggregate": [names.tallies, names.verdicts], "dispatch": [names.surges]}
    return any(deployment.unread(worker, topics) for worker, topics in read.items())


def _begin(deployment: BenchDeployment) -> tuple[int, int]:
    """When the first slice came to Kafka, and how many signals it held."""
    first: list[tuple[int, int]] = []
    for partition in range(deployment.names.signal_partitions):
        for message in read_back(deployment.settings, deployment.names.signals, partition, 0):
            held = len(decode(message.value() or b"", SignalSlice).signals)
            first.append((message.timestamp()[1] * 1000, held))
            break
    return min(first)
