"""Where a deployment stands: what became of the items of each clock, and how far each kind of worker is behind.

Raises: BrokerUnavailable, StoreUnavailable; ConfigurationError where the topics were not made yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from alerts import consumed
from pipeline.ingest.state import Counts
from pipeline.kafka.clock_states import clock_states
from pipeline.kafka.cluster import Bounds, Cluster
from pipeline.kafka.names import Names
from pipeline.kafka.step import Place
from pipeline.kafka.unread import unread
from pipeline.settings import Settings
from pipeline.streams import Definition

#: Seconds that one question to Kafka may take: a person waits.
CALL_S = 8.0


@dataclass(frozen=True, slots=True)
class ClockStanding:
    """What became of the items of a clock, its watermark (None before the first), and how many records wait."""

    clock: str
    counts: Counts
    watermark_us: int | None
    waiting: int


@dataclass(frozen=True, slots=True)
class Standing:
    """All clocks, and how many records wait for each kind of worker."""

    clocks: list[ClockStanding]
    lag: dict[str, int]


def standing(settings: Settings, definitions: Iterable[Definition], connection: Connection) -> Standing:
    """Where the deployment stands as of now."""
    names, cluster = Names.of(settings), Cluster(settings, call_s=CALL_S)
    states = clock_states(cluster, names)
    defined = {clock for one in definitions for clock in names.defined(one).clocks}
    there = cluster.names()
    raw = {Place(*names.raw_place(clock)): clock for clock in sorted({*states, *defined})}
    reads: dict[str, tuple[list[str], Mapping[Place, int]]] = {  # what each worker reads, and how far it has
        "score": ([names.signals], _committed(cluster, names.group("score"))),
        "aggregate": ([names.tallies, names.verdicts], _committed(cluster, names.group("aggregate"))),
        "dispatch": ([names.surges, names.dead], _stored(connection, [names.surges, names.dead])),
    }
    facts = cluster.topics({topic for topics, _ in reads.values() for topic in topics})
    waiting = _waiting(
        settings,
        cluster,
        # A clock whose topic is gone has nothing that waits.
        {place: states[c].state.position if c in states else 0 for place, c in raw.items() if place.topic in there},
    )
    lag = {"ingest": sum(waiting.values())}
    for worker, (topics, position) in reads.items():
        places = [Place(topic, number) for topic in topics for number in range(facts[topic].partitions)]
        lag[worker] = sum(_waiting(settings, cluster, {p: position.get(p, 0) for p in places}).values())
    clocks = [
        ClockStanding(
            clock=clock,
            counts=states[clock].state.counts if clock in states else Counts(),
            watermark_us=states[clock].watermark_us if clock in states else None,
            waiting=waiting.get(place, 0),
        )
        for place, clock in raw.items()
    ]
    return Standing(clocks, lag)


def _committed(cluster: Cluster, group: str) -> dict[Place, int]:
    return {place: found.offset for place, found in cluster.committed(group).items()}


def _stored(connection: Connection, topics: list[str]) -> dict[Place, int]:
    return {Place(*place): position for place, position in consumed.everywhere(connection, topics).items()}


def _waiting(settings: Settings, cluster: Cluster, positions: Mapping[Place, int]) -> dict[Place, int]:
    """How many records there are from each position on; from the log's start where that is later."""
    bounds = cluster.bounds(positions)
    return unread(settings, {p: Bounds(max(at, bounds[p].start), bounds[p].end) for p, at in positions.items()})
