"""The baseline: a plain Faust app with its documented defaults that does the same counting, record by record.

It runs as one process on the broker of the bench, and reads the same items from a topic of its own. Each item is one
update of its table and so one record in the table's changelog, whose growth is its rate.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from pipeline.bench.deployment import BenchDeployment
from pipeline.bench.items import items
from pipeline.bench.processor_time import ProcessorTime, per_million
from pipeline.clock import now_us
from pipeline.errors import BrokerUnavailable, ConfigurationError, TocsinError
from pipeline.instants import SECOND_US
from pipeline.kafka.client import connection
from pipeline.kafka.cluster import Cluster
from pipeline.kafka.step import Place

#: Faust's default number of partitions of a table; a topic that is counted must have as many.
PARTITIONS = 8
#: More than it counts while it is watched.
ITEMS = 150_000
#: Seconds until it must count, and for which it is then watched.
_START_S, _WATCH_S = 90.0, 20.0
_HEAD = 1_000

Say = Callable[[str], None]


def baseline(deployment: BenchDeployment, *, keys: int, say: Say) -> dict[str, Any]:
    """One run; signals a second. Raises TocsinError when the app does not count."""
    say("a plain Faust app counts the same items")
    app = f"{deployment.names.prefix}-plain"
    topic = f"{app}-items"
    admin = AdminClient(connection(deployment.settings))
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result()
    _preload(deployment, topic, keys)
    environment = {
        **os.environ,
        "TOCSIN_KAFKA": deployment.broker.bootstrap,
        "TOCSIN_BENCH_APP": app,
        "TOCSIN_BENCH_TOPIC": topic,
    }
    command = [sys.executable, "-m", "pipeline.bench.plain_faust", "worker", "-l", "warn", "--without-web"]
    path = deployment.folder / "plain-faust.log"
    with open(path, "wb") as log:
        process = subprocess.Popen(
            command, env=environment, cwd=deployment.folder, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        with ProcessorTime({"faust": process.pid, "broker": deployment.broker.pid}) as used:
            begin, end = _watched(deployment, f"{app}-counts-changelog", process)
    finally:
        process.kill()
        process.wait()
    counted = end[1] - begin[1]
    return {
        "baseline": round(counted * SECOND_US / (end[0] - begin[0])),
        "baseline_signals": counted,
        "baseline_cpu_seconds_per_million": per_million(used.between(begin[0], end[0]), counted),
    }


def _preload(deployment: BenchDeployment, topic: str, keys: int) -> None:
    failed: list[KafkaError] = []
    producer = Producer(connection(deployment.settings) | {"linger.ms": 50, "compression.type": "zstd"})
    for item in items(ITEMS, keys):
        host = msgspec.json.decode(item)["host"]
        while True:
            try:
                producer.produce(
                    topic, item, host, on_delivery=lambda error, _: failed.append(error) if error else None
                )
                break
            except BufferError:
                producer.poll(0.1)
    if producer.flush(120) or failed:
        raise TocsinError(f"the topic of the baseline could not be filled: {failed[:1]}")


def _watched(
    deployment: BenchDeployment, changelog: str, process: subprocess.Popen[bytes]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(time in microseconds, updates so far), twice: when it has begun to count, and at the end."""
    cluster = Cluster(deployment.settings)
    places = [Place(changelog, partition) for partition in range(PARTITIONS)]
    until_s = time.monotonic() + _START_S
    begin: tuple[int, int] | None = None
    while True:
        time.sleep(0.5)
        if process.poll() is not None:
            raise TocsinError(f"the plain Faust app has ended; {deployment.folder}/plain-faust.log says why")
        try:
            now = now_us(), sum(bounds.end for bounds in cluster.bounds(places).values())
        except (BrokerUnavailable, ConfigurationError):  # it has not made the topic yet
            now = now_us(), 0
        if begin is not None:
            if now[0] - begin[0] >= _WATCH_S * SECOND_US or now[1] >= ITEMS:
                return begin, now
        elif now[1] >= _HEAD:
            begin = now
        elif time.monotonic() > until_s:
            raise TocsinError(f"the plain Faust app has counted nothing in {_START_S:g} s")
