"""Where each clock stands, by what ingest has committed: for the shells and for people."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import UnknownRecord
from pipeline.ingest.fold import Counts
from pipeline.kafka.cluster import Cluster
from pipeline.kafka.ingest_state import decode_state
from pipeline.kafka.names import Names
from pipeline.kafka.step import Place
from pipeline.records import LEFT_US


@dataclass(frozen=True, slots=True)
class ClockState:
    """Up to where a raw partition is taken in, what became of its items, and its watermark (`LEFT_US` once left)."""

    place: Place
    position: int
    counts: Counts
    watermark_us: int | None


def clock_states(cluster: Cluster, names: Names) -> dict[str, ClockState]:
    """Every clock that has begun. Raises BrokerUnavailable, UnknownRecord."""
    states = {}
    group = names.group("ingest")
    for place, committed in cluster.committed(group).items():
        clock = names.clock(place.topic, place.partition)
        try:
            state = decode_state(committed.metadata).state
        except UnknownRecord as error:
            raise UnknownRecord(f"the group {group}, {place.topic}/{place.partition}: {error}") from None
        watermark_us = LEFT_US if state.left else state.watermark_us
        states[clock] = ClockState(place, committed.offset, state.counts, watermark_us)
    return states
