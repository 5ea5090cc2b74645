"""The comparison: what a deployment has said, beside the local runtime and the oracle on the same raw log."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Engine, select

from alerts.receiver import Received
from alerts.routing import LIVE_RUN
from alerts.store import create_engine, transaction
from alerts.tables import alerts, transitions
from pipeline.bench.deployment import BenchDeployment
from pipeline.bench.oracle import Count
from pipeline.detect.digest import digest
from pipeline.kafka.readback import read_back
from pipeline.kafka.registry import Registry
from pipeline.records import LEFT_US, TallyBatch, Transition, decode
from pipeline.runtime.checkpoint import CheckpointStore
from pipeline.runtime.pipeline import Pipeline
from pipeline.scoring.null_engine import NullEngine
from pipeline.scoring.scorer import Scorer

Key = tuple[str, str, int]


def oracle(deployment: BenchDeployment) -> Count:
    """The plain count of every raw partition."""
    count = Count()
    for stream, source in _sources(deployment):
        topic = deployment.names.raw(stream, source)
        for partition in range(deployment.names.raw_partitions):
            count.add(deployment.raw_messages(topic, partition))
    return count


def local_run(deployment: BenchDeployment, database_url: str) -> list[Transition]:
    """The local runtime on the same raw log, with checkpoints in a database of its own: its transitions."""
    names = deployment.names
    definitions = {name: names.defined(one) for name, one in deployment.file.streams.items()}
    engine = create_engine(database_url)
    try:
        pipeline = Pipeline(
            definitions,
            run=LIVE_RUN,
            buckets=1,
            scorer=Scorer(NullEngine(), cache_entries=100_000, batch_tokens=16_384),
            store=CheckpointStore(engine, LIVE_RUN, deliver=False),
            scores=Path(deployment.folder / "local-scores"),
            checkpoint_s=5.0,
        )
        clocks = [clock for one in definitions.values() for clock in one.clocks]
        logs = {}
        for clock in clocks:
            pipeline.open(clock.split("/")[0], clock)
            logs[clock] = iter(deployment.raw_log(clock))

        def behind(clock: str) -> int:
            watermark_us = pipeline.position(clock).watermark_us
            return -LEFT_US if watermark_us is None else watermark_us

        while logs:
            clock = min(logs, key=behind)
            record = next(logs[clock], None)
            if record is None:
                del logs[clock]
            else:
                pipeline.fold(clock, [record])
                if pipeline.due:
                    pipeline.checkpoint()
        pipeline.checkpoint()
        pipeline.close()
        return stored(engine)
    finally:
        engine.dispose()


def stored(engine: Engine) -> list[Transition]:
    """The transitions of surges in a database."""
    with transaction(engine) as connection:
        rows = connection.execute(select(transitions.c.encoded).where(transitions.c.tick.is_not(None))).all()
    return [decode(bytes(row.encoded), Transition) for row in rows]


class Tallied(NamedTuple):
    """Counts by key and tick from the tallies; `astray` are those under another definition than that of their tick.
    `under` are the definitions that have counted."""

    total: Counter[Key]
    bad: Counter[Key]
    astray: int
    under: set[str]


def tallied(deployment: BenchDeployment) -> Tallied:
    """Each range of a clock once for each definition, as buckets take them."""
    found = Tallied(Counter(), Counter(), 0, set())
    registry = Registry(deployment.settings)
    registry.read()
    turns = {name: registry.turns(name) for name in deployment.file.streams}
    ticks = {name: of[0].definition.ticks for name, of in turns.items()}
    astray = 0
    for bucket in range(deployment.names.buckets):
        covered: dict[tuple[str, str], int] = {}
        for message in read_back(deployment.settings, deployment.names.tallies, bucket, 0):
            for slice in decode(message.value() or b"", TallyBatch).slices:
                place = slice.partition, slice.definition
                if slice.start != covered.get(place, slice.start if slice.begins else None):
                    continue
                covered[place] = slice.end
                if slice.tallies:
                    found.under.add(slice.definition)
                for tick, tallies in slice.tallies.items():
                    at_us = ticks[slice.stream].start_us(tick)
                    in_force = [turn for turn in turns[slice.stream] if turn.from_us <= at_us][-1]
                    astray += len(tallies) * (in_force.name != slice.definition)
                    for (group, member), one in tallies.items():
                        found.total[group, member, at_us] += one.total
                        found.bad[group, member, at_us] += one.bad
    return found._replace(astray=astray)


def compared(
    deployment: BenchDeployment,
    live: Engine,
    local: Sequence[Transition],
    received: Sequence[Received],
    acknowledged: Sequence[str],
) -> dict[str, Any]:
    """The figures that must be 0 or true, and how much they were shown on. `acknowledged` are ids that were pushed."""
    count = oracle(deployment)
    total, bad, astray, under = tallied(deployment)
    said = stored(live)
    mine = {(t.id, t.sequence): t for t in local}
    theirs = {(t.id, t.sequence): t for t in said}
    wrong = sum(total[k] != n or bad[k] != count.bad[k] for k, n in count.total.items() if k in total)
    wrong += astray + sum(mine[k] != t for k, t in theirs.items() if k in mine)
    wrong += sum(_wrong_series(count, t) for t in said)
    with transaction(live) as connection:
        rows = connection.execute(
            select(alerts.c.id, alerts.c.stream, alerts.c["group"], alerts.c.direction, alerts.c.opened_at).where(
                alerts.c.kind == "surge"
            )
        ).all()
    surges = {(row.stream, row.group, row.direction, row.opened_at) for row in rows}
    ids: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    for one in received:
        alert, sequence = _named(one)
        ids[alert, sequence].add(one.webhook_id)
    return {
        "lost": len(set(acknowledged) - count.ids),
        "missing": sum(k not in total for k in count.total) + sum(k not in theirs for k in mine),
        "extra": sum(k not in count.total for k in total) + sum(k not in mine for k in theirs),
        "wrong": wrong,
        "duplicate_alerts": len(rows) - len(surges),
        "deliveries_twice_with_another_id": sum(len(found) > 1 for found in ids.values()),
        "undelivered": sum(k not in ids for k in theirs),
        "digest_equal": digest(said) == digest(local),
        "digest": digest(said)[:16],
        "signals": count.accepted,
        "counted": count.counted,
        "late": count.late,
        "duplicates": count.duplicates,
        "dead": count.dead,
        "surges": len(rows),
        "transitions": len(said),
        "keys_and_ticks": len(count.total),
        "definitions": len(under),
        "webhooks": len(received),
    }


def fates(deployment: BenchDeployment) -> dict[str, int]:
    """What ingest itself says became of the items."""
    states = [kept.state.counts for kept in deployment.clocks().values()]
    return {name: sum(getattr(one, name) for one in states) for name in ("counted", "late", "duplicates", "dead")}


def _wrong_series(count: Count, transition: Transition) -> int:
    """Points of a transition's series that are not what the oracle has counted: of its group, or of that one of its
    members that tells the surge."""
    members = ("", *(member.member for member in transition.members))
    return min(
        sum(
            (count.bad[transition.group, member, at], count.total[transition.group, member, at]) != (bad, total)
            for at, bad, total, _ in transition.series
        )
        for member in members
    )


def _named(received: Received) -> tuple[str, int]:
    import json

    data = json.loads(received.body)["data"]
    return str(data["id"]), int(data["sequence"])


def _sources(deployment: BenchDeployment) -> list[tuple[str, str]]:
    return [(name, source.name) for name, one in deployment.file.streams.items() for source in one.sources]
