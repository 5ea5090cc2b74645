"""Dead letters: items that could not be used, kept until someone retries them or their time is over.

Delivery: stored in the transaction of the caller.
Idempotence: a dead letter is stored once, by its place in the raw log.
Raises: errors of the driver; wrap the transaction with `alerts.store.transaction`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from alerts.tables import dead_letters
from pipeline.instants import to_datetime
from pipeline.records import LostItem


def store(connection: Connection, run: str, lost: Iterable[LostItem]) -> None:
    """Keep items that could not be used."""
    rows = [
        {
            "run": run,
            "stream": one.stream,
            "partition": one.partition,
            "position": one.letter.position,
            "received_at": to_datetime(one.letter.received_us),
            "form": one.letter.form,
            "source": one.letter.source,
            "item_id": one.letter.id,
            "reason": one.letter.reason,
            "payload": one.letter.payload,
        }
        for one in lost
    ]
    if rows:
        statement = insert(dead_letters).on_conflict_do_nothing(index_elements=["run", "partition", "position"])
        connection.execute(statement, rows)


def to_retry(connection: Connection, run: str, partitions: Collection[str], *, limit: int = 1000) -> Sequence[Row[Any]]:
    """Those that someone asked to retry, oldest first. Those of other partitions wait until theirs is configured."""
    d = dead_letters.c
    wanted = select(dead_letters).where(
        d.run == run, d.retry_requested_at.is_not(None), d.retried_at.is_(None), d.partition.in_(list(partitions))
    )
    return connection.execute(wanted.order_by(d.id).limit(limit)).all()


def retried(connection: Connection, row: Row[Any], now_us: int) -> None:
    """A retry was made. One that was asked for meanwhile is still to be made."""
    d = dead_letters.c
    asked = d.retry_requested_at == row.retry_requested_at
    connection.execute(update(dead_letters).where(d.id == row.id, asked).values(retried_at=to_datetime(now_us)))


def forget(connection: Connection, before_us: int) -> int:
    """Remove those that came in before an instant; how many."""
    return connection.execute(delete(dead_letters).where(dead_letters.c.received_at < to_datetime(before_us))).rowcount
