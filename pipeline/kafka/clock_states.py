"""Where ingest stands in each raw partition, as it has committed it: for whoever looks from outside."""

from __future__ import annotations

from pipeline.kafka.cluster import Cluster
from pipeline.kafka.ingest_state import KeptState, decode_state
from pipeline.kafka.names import Names


def clock_states(cluster: Cluster, names: Names) -> dict[str, KeptState]:
    """The committed state of every clock, by its name. Raises BrokerUnavailable, UnknownRecord."""
    return {
        names.clock(place.topic, place.partition): decode_state(found.metadata)
        for place, found in cluster.committed(names.group("ingest")).items()
    }
