"""How long after the raw record that closes a tick its webhooks come, while a stream flows.

A tick closes when every clock has reached its end; of the first records of each clock that do, the one that is appended
last is the one that closes it. The broker's append time (whole milliseconds, rounded down) and the receiver's time are
of one wall clock.
"""

from __future__ import annotations

import json
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any

from sqlalchemy import func, select

from alerts import subscriptions
from alerts.keyring import Keyring
from alerts.receiver import Received, Receiver, Reply
from alerts.routing import Route
from alerts.store import create_engine, transaction
from alerts.tables import attempts, deliveries
from pipeline.bench.deployment import BenchDeployment
from pipeline.bench.fleet import Fleet
from pipeline.bench.live_feed import LEARNING_S, RATE, STREAM, LiveFeed
from pipeline.bench.throughput import wait_joined
from pipeline.clock import now_us
from pipeline.errors import TocsinError
from pipeline.instants import from_datetime
from pipeline.kafka.readback import read_back
from pipeline.records import LEFT_US, SignalSlice, TallyBatch, Transition, VerdictBatch, decode

KINDS = ("ingest", "score", "aggregate", "dispatch", "deliver")
#: Seconds until the webhooks must have come.
_MOST_S = 400.0

Say = Callable[[str], None]
#: (time of the event, time of the record) in microseconds, ascending in both.
Marks = list[tuple[int, int]]


def latency(deployment: BenchDeployment, *, webhooks: int, say: Say) -> dict[str, Any]:
    """One run on a deployment of `live_feed.STREAMS`; the figures. Raises TocsinError when not enough comes."""
    came: dict[tuple[str, int], tuple[int, int]] = {}  # (end of tick, received) by (alert, sequence)
    lock = threading.Lock()

    async def note(got: Received) -> Reply:
        at_us = now_us()
        data = json.loads(got.body)["data"]
        with lock:
            came.setdefault((data["id"], data["sequence"]), (_instant(data["tick_end"]), at_us))
        return Reply()

    fleet = Fleet(deployment.folder, deployment.environment)
    for kind in KINDS:
        fleet.add(kind, 1)
    try:
        with Receiver(respond=note) as receiver:
            _subscribe(deployment, receiver)
            fleet.start_all()
            wait_joined(deployment, [kind for kind in KINDS if kind != "deliver"])
            say(f"the workers run; feeding {RATE} items a second until {webhooks:,} webhooks have come")
            feed = LiveFeed(deployment.settings)
            feed.start()
            _await(fleet, feed, lambda: len(came) >= webhooks, say, lambda: len(came))
            feed.finish()
            feed.join()
            time.sleep(2.0)  # what is under way
            if feed.error is not None:
                raise feed.error
        for worker in fleet.workers:
            fleet.stop(worker)
    finally:
        fleet.end()
    with lock:
        closed = _closed(deployment, {end for end, _ in came.values()})
        waits = sorted((at_us - closed[end]) / 1000 for end, at_us in came.values() if end in closed)
    return {
        "webhooks": len(waits),
        "p50_ms": round(median(waits), 1),
        "p99_ms": round(waits[int(len(waits) * 0.99)], 1),
        "max_ms": round(waits[-1], 1),
        "signals_a_second_behind": RATE,
        "median_ms_of_each_hop": _hops(deployment, came, closed),
    }


def _subscribe(deployment: BenchDeployment, receiver: Receiver) -> None:
    key = deployment.settings.secret_key
    assert key is not None
    engine = create_engine(deployment.database_url)
    try:
        with transaction(engine) as connection:
            _, secret = subscriptions.add(
                connection,
                url=receiver.url("/latency"),
                wanted=Route(stream="*", group="*", min_severity="info", states=("opened", "grew", "resolved")),
                keyring=Keyring(key),
                now_us=now_us(),
            )
    finally:
        engine.dispose()
    receiver.secrets["/latency"] = secret


def _await(fleet: Fleet, feed: LiveFeed, done: Callable[[], bool], say: Say, count: Callable[[], int]) -> None:
    until_s, told_s = time.monotonic() + _MOST_S, time.monotonic() + LEARNING_S
    while not done():
        if feed.error is not None:
            raise feed.error
        if fleet.ended() or time.monotonic() > until_s:
            raise TocsinError(f"only {count()} webhooks have come; {fleet.ended() or 'every worker still runs'}")
        if time.monotonic() - told_s > 10:
            told_s = time.monotonic()
            say(f"  {count():,} webhooks, {feed.sent:,} items")
        time.sleep(0.1)


def _closed(deployment: BenchDeployment, ends: Iterable[int]) -> dict[int, int]:
    """When the record that closed it was appended, by the end of a tick."""
    by_clock: list[Marks] = []
    definition = deployment.names.defined(deployment.file.streams[STREAM])
    for clock in definition.clocks:
        marks: Marks = []
        topic, partition = deployment.names.raw_place(clock)
        for message in deployment.raw_messages(topic, partition):
            if not message.headers():  # no heartbeat: none comes while items flow
                event_us = _instant(json.loads(message.value() or b"")["time"])
                if not marks or event_us > marks[-1][0]:
                    marks.append((event_us, message.timestamp()[1] * 1000))
        by_clock.append(marks)
    return reached_by_all(by_clock, ends)


def reached_by_all(by_clock: Sequence[Marks], ends: Iterable[int]) -> dict[int, int]:
    """When the last clock reached each of these ends; without those that not all have reached."""
    reached = {}
    for end in ends:
        firsts = [bisect_left(marks, (end, 0)) for marks in by_clock]
        if all(first < len(marks) for first, marks in zip(firsts, by_clock, strict=True)):
            reached[end] = max(marks[first][1] for first, marks in zip(firsts, by_clock, strict=True))
    return reached


def _hops(
    deployment: BenchDeployment, came: dict[tuple[str, int], tuple[int, int]], closed: dict[int, int]
) -> dict[str, float]:
    """How long a webhook was in each worker's hands, by the times of the records that each has written."""
    names, settings = deployment.names, deployment.settings
    signals: defaultdict[str, Marks] = defaultdict(list)
    for partition in range(names.signal_partitions):
        for message in read_back(settings, names.signals, partition, 0):
            slice = decode(message.value() or b"", SignalSlice)
            _mark(signals[slice.partition], slice.watermark_us, message.timestamp()[1])
    tallies: defaultdict[tuple[int, str], Marks] = defaultdict(list)
    judged: dict[int, int] = {}
    ticks = deployment.file.streams[STREAM].ticks
    for bucket in range(names.buckets):
        for message in read_back(settings, names.tallies, bucket, 0):
            for one in decode(message.value() or b"", TallyBatch).slices:
                _mark(tallies[bucket, one.partition], one.watermark_us, message.timestamp()[1])
        for message in read_back(settings, names.verdicts, bucket, 0):
            for verdict in decode(message.value() or b"", VerdictBatch).verdicts:
                end = ticks.end_us(verdict.last_tick)
                judged[end] = max(judged.get(end, 0), message.timestamp()[1] * 1000)
    told: dict[tuple[str, int], int] = {}
    for partition in range(names.signal_partitions):
        for message in read_back(settings, names.surges, partition, 0):
            surge = decode(message.value() or b"", Transition)
            told.setdefault((surge.id, surge.sequence), message.timestamp()[1] * 1000)
    at_signals = reached_by_all(list(signals.values()), closed)
    at_tallies = reached_by_all(list(tallies.values()), closed)
    stored = _stored(deployment)
    hops: defaultdict[str, list[float]] = defaultdict(list)
    for name, (end, received_us) in came.items():
        if end not in closed or end not in at_signals or end not in at_tallies:
            continue
        if name not in stored:
            continue
        times = [closed[end], at_signals[end], at_tallies[end], judged[end], told[name], *stored[name], received_us]
        for hop, (begin, finish) in zip(_HOPS, pairwise(times), strict=True):
            hops[hop].append((finish - begin) / 1000)
    return {hop: round(median(values), 1) for hop, values in hops.items()}


_HOPS = ("ingest", "score", "buckets", "judge", "dispatch_reads", "dispatch_stores_deliver_claims", "deliver_sends")


def _stored(deployment: BenchDeployment) -> dict[tuple[str, int], tuple[int, int]]:
    """When dispatch began to store what a webhook tells, and when deliver sent it."""
    engine = create_engine(deployment.database_url)
    try:
        with transaction(engine) as connection:
            rows = connection.execute(
                select(deliveries.c.alert_id, deliveries.c.sequence, deliveries.c.created_at, func.min(attempts.c.at))
                .join(attempts, attempts.c.delivery_id == deliveries.c.id)
                .group_by(deliveries.c.id)
            ).all()
    finally:
        engine.dispose()
    return {(row[0], row[1]): (from_datetime(row[2]), from_datetime(row[3])) for row in rows}


def _mark(marks: Marks, event_us: int, at_ms: int) -> None:
    if event_us != LEFT_US and (not marks or event_us > marks[-1][0]):
        marks.append((event_us, at_ms * 1000))


def _instant(text: str) -> int:
    return from_datetime(datetime.fromisoformat(text))
