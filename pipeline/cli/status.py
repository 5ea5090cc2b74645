"""`tocsin status` and `tocsin migrate`."""

from __future__ import annotations

from typing import Any

import typer

from pipeline.cli.database import database
from pipeline.cli.output import print_json, say
from pipeline.cli.table import print_table
from pipeline.ingest.fold import Counts
from pipeline.instants import to_iso
from pipeline.records import LEFT_US

_STATUS = """What was accepted and what became of it, open surges, deliveries.

Accepted = counted + late + duplicates + dead letters, as of the last checkpoint; "waiting" is accepted and not
folded yet.

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
    from pipeline.runtime.datafolder import DataFolder
    from pipeline.servers.servers import running_database
    from pipeline.settings import load

    settings = load()
    with running_database(settings, DataFolder(settings.data)) as url:
        schema.downgrade(url, down)
    say(f"the schema is at {down}; any command of this version brings it up again: go on with the older one")


def status(json: bool = typer.Option(False, "--json", help="one JSON object")) -> None:
    from sqlalchemy import func, select

    from alerts.routing import LIVE_RUN
    from alerts.store import transaction
    from alerts.tables import alerts, deliveries, positions
    from pipeline.journal.census import accepted_items
    from pipeline.runtime.datafolder import DataFolder

    with database() as db:
        with transaction(db.engine) as connection:
            rows = connection.execute(
                select(positions).where(positions.c.run == LIVE_RUN).order_by(positions.c.partition)
            ).all()
            open_alerts = connection.scalar(select(func.count()).where(alerts.c.state == "open")) or 0
            states = select(deliveries.c.state, func.count().label("deliveries")).group_by(deliveries.c.state)
            sent: dict[str, int] = {row.state: row.deliveries for row in connection.execute(states)}
        journals = accepted_items(DataFolder(db.settings.data).journal)
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
    sums = {
        k: sum(one[k] for one in found)
        for k in ("accepted", "counted", "late", "duplicates", "dead_letters", "waiting")
    }
    if json:
        print_json({**sums, "partitions": found, "open_alerts": open_alerts, "deliveries": sent})
        return
    names = ("partition", "accepted", "counted", "late", "duplicates", "dead_letters", "waiting", "watermark")
    print_table(
        names, [[one[name] for name in names] for one in [*found, {"partition": "sum", **sums, "watermark": ""}]]
    )
    print(f"open alerts: {open_alerts}; deliveries: {', '.join(f'{n} {s}' for s, n in sorted(sent.items())) or 'none'}")


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
