"""`tocsin dead-letters`: items that could not be used, and what to do with them."""

from __future__ import annotations

import sys
from typing import Any

import typer

from pipeline.cli.database import database
from pipeline.cli.help import described
from pipeline.cli.output import print_json, say
from pipeline.cli.table import print_table
from pipeline.clock import now_us
from pipeline.errors import NotFound, UsageError
from pipeline.ingest.masking import mask
from pipeline.instants import to_datetime

app = typer.Typer(help="Items that could not be used: list, show and retry them.", no_args_is_help=True)
_SHOWN = 80


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="dead-letters")


@app.command("list", help=described("Newest first, payloads masked.", "tocsin dead-letters list --stream logs"))
def list_newest(
    stream: str | None = typer.Option(None, help="only those of one stream"),
    limit: int = typer.Option(50, min=1, max=10_000, help="at most so many"),
    json: bool = typer.Option(False, "--json", help="one JSON object a line"),
) -> None:
    from sqlalchemy import select

    from alerts.store import transaction
    from alerts.tables import dead_letters

    d = dead_letters.c
    wanted = select(dead_letters).order_by(d.id.desc()).limit(limit)
    if stream is not None:
        wanted = wanted.where(d.stream == stream)
    with database() as db, transaction(db.engine) as connection:
        rows = connection.execute(wanted).all()
    if json:
        for row in rows:
            print_json(_described(row))
        return
    print_table(
        ("id", "received", "place", "reason", "payload (masked)"),
        [
            (
                row.id,
                row.received_at.isoformat(timespec="seconds"),
                f"{row.partition}@{row.position}",
                _shown(row.reason.encode()),
                _shown(row.payload),
            )
            for row in rows
        ],
    )


@app.command(
    help=described("One dead letter, masked. With --raw, its bytes as they came.", "tocsin dead-letters show 7 --raw")
)
def show(
    id: int = typer.Argument(help="as `tocsin dead-letters list` shows it"),
    raw: bool = typer.Option(False, "--raw", help="the bytes as they came, unmasked"),
) -> None:
    row = _one(id)
    if raw:
        sys.stdout.buffer.write(row.payload)
        sys.stdout.buffer.flush()
    else:
        print_json(_described(row) | {"payload": _masked(row.payload)})


@app.command(
    help=described(
        "Take dead letters in again, as new items.",
        "tocsin dead-letters retry 7 8",
        "tocsin dead-letters retry --all --stream logs",
    )
)
def retry(
    ids: list[int] = typer.Argument(None, help="which ones"),
    all: bool = typer.Option(False, "--all", help="all that were never retried"),
    stream: str | None = typer.Option(None, help="with --all: only those of one stream"),
) -> None:
    from sqlalchemy import update

    from alerts.store import transaction
    from alerts.tables import dead_letters

    if bool(ids) == all:
        raise UsageError("name the dead letters to retry, or say --all (and --stream NAME); not both")
    d = dead_letters.c
    change = update(dead_letters).values(retry_requested_at=to_datetime(now_us()), retried_at=None)
    change = change.where(d.id.in_(ids)) if ids else change.where(d.retry_requested_at.is_(None))
    if stream is not None:
        change = change.where(d.stream == stream)
    with database() as db, transaction(db.engine) as connection:
        count = connection.execute(change).rowcount
        who = "`tocsin run dispatch`" if db.settings.kafka else "`tocsin up`"
    if ids and not count:
        raise NotFound(f"there is no dead letter {ids[0]}; `tocsin dead-letters list` shows them")
    say(f"{count} dead letters are taken in again by the running {who}, or the next one")


def _one(id: int) -> Any:
    from sqlalchemy import select

    from alerts.store import transaction
    from alerts.tables import dead_letters

    with database() as db, transaction(db.engine) as connection:
        row = connection.execute(select(dead_letters).where(dead_letters.c.id == id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no dead letter {id}; `tocsin dead-letters list` shows them")
    return row


def _described(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "stream": row.stream,
        "partition": row.partition,
        "position": row.position,
        "received_at": row.received_at,
        "form": row.form,
        "source": row.source,
        "reason": mask(row.reason, ip=True),
        "bytes": len(row.payload),
        "payload": _shown(row.payload),
        "retried_at": row.retried_at,
    }


def _shown(payload: bytes) -> str:
    """Its beginning; masked before it is cut, since half an address is none to the mask."""
    return _masked(payload[: 50 * _SHOWN])[:_SHOWN]


def _masked(payload: bytes) -> str:
    return mask(payload.decode("utf-8", "replace"), ip=True)
