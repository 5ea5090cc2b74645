"""Where ingest stands in each raw partition, as it has committed it: for whoever looks from outside."""

from __future__ import annotations

from pipeline.ingest.fold import IngestFold
from pipeline.kafka.cluster import Cluster
from pipeline.kafka.ingest_state import KeptState, decode_state
from pipeline.kafka.names import Names
from pipeline.kafka.registry import Registry


def clock_states(cluster: Cluster, names: Names) -> dict[str, KeptState]:
    """The committed state of every clock, by its name. Raises BrokerUnavailable, UnknownRecord."""
    return {
        names.clock(place.topic, place.partition): decode_state(found.metadata)
        for place, found in cluster.committed(names.group("ingest")).items()
    }


def kept_fold(registry: Registry, clock: str, kept: KeptState) -> IngestFold:
    """The fold of a clock as ingest has committed it, but for its memory for ids. Raises LogLost where the registry
    lacks a definition that it names."""
    stream = clock.split("/", 1)[0]
    turn = registry.turn(stream, kept.turn)
    pending = registry.turn(stream, kept.pending) if kept.pending else None
    return IngestFold(turn, clock, kept.fold_state(turn, pending))
