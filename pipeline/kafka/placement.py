"""Placement: where the partitions of a topic are read on from, by what the database holds.

The group's own offsets are never asked: they may have expired. A position that does not belong to what Kafka holds is
an error, and never a jump.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Engine

from alerts import consumed
from alerts.consumed import Consumed
from alerts.owners import check_owner, kafka_owner
from alerts.routing import LIVE_RUN
from alerts.store import transaction
from pipeline.errors import LogLost
from pipeline.kafka.cluster import Bounds, Cluster
from pipeline.kafka.step import Place


class Placement:
    """Says where to read on, for one deployment."""

    def __init__(self, engine: Engine, cluster: Cluster, prefix: str) -> None:
        self._engine = engine
        self._cluster = cluster
        self._prefix = prefix

    def of(self, places: Collection[Place]) -> Mapping[Place, Consumed]:
        """The position of each partition. Raises LogLost; ConfigurationError where a topic is missing or the database
        belongs to another deployment; BrokerUnavailable, StoreUnavailable."""
        owner = kafka_owner(self._cluster.id(), self._prefix)
        topics = self._cluster.topics({place.topic for place in places})
        # Others store meanwhile, and this process may be frozen between any two lines: a start that was asked before
        # the positions and an end that was asked after them hold for these positions, whatever has moved since.
        starts = self._cluster.starts(places)
        with transaction(self._engine) as connection:
            check_owner(connection, LIVE_RUN, owner)
            found = consumed.positions(connection, {place: topics[place.topic].id for place in places})
        ends = self._cluster.ends(places)
        for place in places:
            check(place, found[place], topics[place.topic].id, Bounds(starts[place], ends[place]))
        return {place: found[place] for place in places}


def check_topic(topic: str, stored: Consumed, topic_id: str) -> None:
    """Raises LogLost when a topic is not the one that was read, but another under its name."""
    if stored.topic_id != topic_id:
        raise LogLost(
            f"the topic {topic} was made anew: its id is {topic_id}, and what is stored was read from "
            f"{stored.topic_id}. Nothing was skipped. What it held and was not stored is lost; to go on from the "
            f"beginning of the new one, run in Postgres: DELETE FROM consumed WHERE topic = '{topic}'"
        )


def check(place: Place, stored: Consumed, topic_id: str, bounds: Bounds) -> None:
    """Raises LogLost when a position and what Kafka holds do not belong together."""
    topic, number = place
    check_topic(topic, stored, topic_id)
    go_on = "run in Postgres: UPDATE consumed SET position = {} WHERE topic = '" + topic + f"' AND partition = {number}"
    if stored.position < bounds.start:
        gone = bounds.start - stored.position
        raise LogLost(
            f"{topic}/{number}: the log begins at {bounds.start}, and the {gone} positions from {stored.position} on "
            "were never stored. Nothing was skipped. Restore the topic; or, to go on without them, "
            f"{go_on.format(bounds.start)}"
        )
    if stored.position > bounds.end:
        raise LogLost(
            f"{topic}/{number}: the log ends at {bounds.end}, and was stored up to {stored.position}: it was set back. "
            f"Nothing was skipped. Restore the topic; or, to go on with what comes, {go_on.format(bounds.end)}"
        )
