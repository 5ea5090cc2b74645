"""Versions of the classifier: which there are, and which is live. Each function works in the transaction of the
caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert

from alerts.tables import model_files, models
from pipeline.errors import NotFound
from pipeline.instants import to_datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """`added_at` is None for the shipped one that was never promoted. `measured`: figures, by who measured them; empty
    where nobody did."""

    version: str
    added_at: datetime | None
    measured: dict[str, Any]
    promoted_at: datetime | None
    live: bool


def add(connection: Connection, version: str, measured: dict[str, Any], now_us: int) -> None:
    """Idempotence: a version that is there already takes what was measured since, and keeps what others measured."""
    row = insert(models).values(version=version, added_at=to_datetime(now_us), measured=measured)
    both = models.c.measured.op("||")(row.excluded.measured)
    connection.execute(row.on_conflict_do_update(index_elements=["version"], set_={"measured": both}))


def keep_files(connection: Connection, version: str, files: Mapping[str, bytes]) -> None:
    """Keep the files (by name) of a version that was added. Idempotence: a version's files never change; where those
    that are there were damaged, these take their place."""
    row = insert(model_files)
    row = row.on_conflict_do_update(index_elements=["version", "name"], set_={"content": row.excluded.content})
    rows = [{"version": version, "name": name, "content": content} for name, content in files.items()]
    connection.execute(row, rows)


def files(connection: Connection, version: str) -> dict[str, bytes]:
    """The files of a version by name; empty where none were kept."""
    rows = connection.execute(select(model_files.c.name, model_files.c.content).where(model_files.c.version == version))
    return {row.name: bytes(row.content) for row in rows}


def promote(connection: Connection, version: str, now_us: int) -> None:
    """Make a version the live one. Raises NotFound."""
    connection.execute(select(models.c.version).with_for_update())  # two at once: one after the other
    latest = connection.scalar(select(func.max(models.c.promoted_at)))
    at = to_datetime(now_us)
    if latest is not None:  # a clock that was set back does not make an older one live again
        at = max(at, latest + timedelta(microseconds=1))
    done = connection.execute(update(models).where(models.c.version == version).values(promoted_at=at))
    if not done.rowcount:
        raise NotFound(f"there is no version {version} of the classifier; `tocsin models list` shows all")


def live(connection: Connection) -> str | None:
    """The live version; None: the shipped one, no other was ever promoted."""
    found: str | None = connection.scalar(
        select(models.c.version).where(models.c.promoted_at.is_not(None)).order_by(models.c.promoted_at.desc()).limit(1)
    )
    return found


def versions(connection: Connection) -> list[ModelVersion]:
    """All of them, the one that came last first."""
    now = live(connection)
    rows = connection.execute(select(models).order_by(models.c.added_at.desc(), models.c.version))
    return [
        ModelVersion(
            version=row.version,
            added_at=row.added_at,
            measured=row.measured,
            promoted_at=row.promoted_at,
            live=row.version == now,
        )
        for row in rows
    ]
