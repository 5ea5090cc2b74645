"""How far Kafka's topics are stored: positions that move in the transaction that stores what was read.

Delivery: a position and what was read up to it are stored together or not at all.
Ordering: a position only moves forward, and only from where its reader began; so of two readers of one partition,
of which one does not know that it is none any more, at most one stores.
Idempotence: a move that was made already is refused, not repeated.
Raises: errors of the driver; wrap the transaction with `alerts.store.transaction`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select, text
from sqlalchemy.dialects.postgresql import insert

from alerts.tables import consumed

#: A topic and the number of one of its partitions.
Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Consumed:
    """A position, and the id of the topic in which it is one."""

    topic_id: str
    position: int


@dataclass(frozen=True, slots=True)
class Move:
    """What was read: `[start, end)` of one partition."""

    place: Place
    topic_id: str
    start: int
    end: int


_MOVE = text(
    """
UPDATE consumed SET position = read.ends
FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:ids AS text[]), CAST(:starts AS bigint[]),
    CAST(:ends AS bigint[])) AS read (topic, partition, id, starts, ends)
WHERE consumed.topic = read.topic AND consumed.partition = read.partition
    AND consumed.topic_id = read.id AND consumed.position = read.starts
"""
)


def positions(connection: Connection, begin: Mapping[Place, str]) -> dict[Place, Consumed]:
    """The positions of some partitions; one that is not known yet begins at 0, in the topic whose id is given."""
    rows = [{"topic": t, "partition": n, "topic_id": id, "position": 0} for (t, n), id in sorted(begin.items())]
    if not rows:
        return {}
    connection.execute(insert(consumed).on_conflict_do_nothing(), rows)
    found = connection.execute(select(consumed).where(consumed.c.topic.in_({t for t, _ in begin})))
    return {
        (row.topic, row.partition): Consumed(row.topic_id, row.position)
        for row in found
        if (row.topic, row.partition) in begin
    }


def everywhere(connection: Connection, topics: Sequence[str]) -> dict[Place, int]:
    """Every position of some topics, for people."""
    found = connection.execute(select(consumed).where(consumed.c.topic.in_(topics)))
    return {(row.topic, row.partition): row.position for row in found}


def move(connection: Connection, moves: Sequence[Move]) -> bool:
    """Move positions on; False when one of them is not where its reader began: then roll the transaction back."""
    if not moves:
        return True
    made = connection.execute(
        _MOVE,
        {
            "topics": [m.place[0] for m in moves],
            "partitions": [m.place[1] for m in moves],
            "ids": [m.topic_id for m in moves],
            "starts": [m.start for m in moves],
            "ends": [m.end for m in moves],
        },
    )
    return made.rowcount == len(moves)
