"""`tocsin status` and `tocsin migrate`."""

from __future__ import annotations

from typing import Any

import typer
from sqlalchemy import Connection

from pipeline.cli.database import Database, database, database_of
from pipeline.cli.output import print_json, say
from pipeline.cli.table import print_table
from pipeline.ingest.state import Counts
from pipeline.instants import to_iso
from pipeline.records import LEFT_US
from pipeline.runtime.datafolder import DataFolder

_STATUS = """What was accepted and what became of it, open surges, deliveries.

Accepted = counted + late + duplicates + dead letters + waiting, as of the last checkpoint; "waiting" is accepted and
not folded yet. On Kafka, what waits counts heartbeats too, and "behind" says how many records wait for each kind of
worker.

Example:

\b
  tocsin status --json
"""

_MIGRATE = """Bring the database schema up to date (`up` does it too).

With --down it goes back to an older schema, for the version of Tocsin that needs it. Tables and columns which that
schema does not have are DELETED with all that is in them, alerts and subscriptions too; "base" deletes everything.
Stop `up` and back up the database first.

Example:

\b
  tocsin migrate
  tocsin migrate --down 0001
"""


def register(root: typer.Typer) -> None:
    root.command("status", help=_STATUS)(status)
    root.command("migrate", help=_MIGRATE)(migrate)


def migrate(
    down: str | None = typer.Option(
        None, "--down", metavar="REVISION", help="back to this schema; what it has no place for is DELETED"
    ),
) -> None:
    if down is None:
        with database():
            say("the schema is up to date")
        return
    from alerts import schema
    from pipeline.settings import load

    with database_of(load()) as (url, _):
        schema.downgrade(url, down)
    say(f"the schema is at {down}; any command of this version brings it up again: go on with the older one")


def status(json: bool = typer.Option(False, "--json", help="one JSON object")) -> None:
    from sqlalchemy import func, select

    from alerts.routing import LIVE_RUN
    from alerts.store import transaction
    from alerts.tables import alerts, deliveries

    with database() as db, transaction(db.engine) as connection:
        found, lag = _on_kafka(db, connection) if db.folder is None else _here(db.folder, connection)
        live = select(func.count()).where(alerts.c.state == "open", alerts.c.run == LIVE_RUN)
        open_alerts = connection.scalar(live) or 0
        states = select(deliveries.c.state, func.count().label("deliveries")).group_by(deliveries.c.state)
        sent: dict[str, int] = {row.state: row.deliveries for row in connection.execute(states)}
    sums = {
        k: sum(one[k] for one in found)
        for k in ("accepted", "counted", "late", "duplicates", "dead_letters", "waiting")
    }
    if json:
        more = {"behind": lag} if lag else {}
        print_json({**sums, "partitions": found, "open_alerts": open_alerts, "deliveries": sent, **more})
        return
    names = ("partition", "accepted", "counted", "late", "duplicates", "dead_letters", "waiting", "watermark")
    print_table(
        names, [[one[name] for name in names] for one in [*found, {"partition": "sum", **sums, "watermark": ""}]]
    )
    if lag:
        print(f"behind: {', '.join(f'{worker} {count}' for worker, count in lag.items())}")
    print(f"open alerts: {open_alerts}; deliveries: {', '.join(f'{n} {s}' for s, n in sorted(sent.items())) or 'none'}")


def _here(folder: DataFolder, connection: Connection) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The local runtime: what its journals hold and its last checkpoint says."""
    from sqlalchemy import select

    from alerts.routing import LIVE_RUN
    from alerts.tables import positions
    from pipeline.journal.census import accepted_items

    rows = connection.execute(
        select(positions).where(positions.c.run == LIVE_RUN).order_by(positions.c.partition)
    ).all()
    journals = accepted_items(folder.journal)
    found = [
        _fates(
            row.partition,
            journals.get(row.partition, row.accepted),
            Counts(row.counted, row.late, row.duplicates, row.dead),
            row.watermark_us,
        )
        for row in rows
    ]
    folded = {row.partition for row in rows}
    found += [_fates(name, items, Counts(), None) for name, items in journals.items() if name not in folded]
    return found, {}


def _on_kafka(db: Database, connection: Connection) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The Kafka runtime: what ingest has committed, and what lies between the workers."""
    from pipeline.kafka.standing import standing
    from pipeline.stream_file import load

    stands = standing(db.settings, load(db.settings.streams).streams.values(), connection)
    found = [_fates(one.clock, one.counts.items + one.waiting, one.counts, one.watermark_us) for one in stands.clocks]
    return found, stands.lag


def _fates(partition: str, accepted: int, counts: Counts, watermark_us: int | None) -> dict[str, Any]:
    """What became of the items of one partition; what was accepted and has not been folded yet is waiting."""
    return {
        "partition": partition,
        "accepted": accepted,
        "counted": counts.counted,
        "late": counts.late,
        "duplicates": counts.duplicates,
        "dead_letters": counts.dead,
        "waiting": accepted - counts.items,
        "watermark": to_iso(watermark_us) if watermark_us not in (None, LEFT_US) else None,
    }
