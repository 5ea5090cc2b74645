"""`tocsin alerts` and `tocsin deliveries`: what was found, and what became of telling it."""

from __future__ import annotations

from dataclasses import asdict

import typer

from pipeline.cli.database import database
from pipeline.cli.help import described
from pipeline.cli.output import print_json, say
from pipeline.cli.surge_words import words_of
from pipeline.cli.table import print_table
from pipeline.clock import now_us
from pipeline.errors import NotFound, UsageError

app = typer.Typer(help="Show deliveries and send them again.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    root.command("alerts", help=described("Surges and alarms of the pipeline, newest first.", "tocsin alerts --open"))(
        alerts
    )
    root.add_typer(app, name="deliveries")


def alerts(
    id: str | None = typer.Argument(None, help="one alert, with its evidence, as JSON"),
    open: bool = typer.Option(False, "--open", help="only those that are open"),
    stream: str | None = typer.Option(None, help="only those of one stream"),
    run: str | None = typer.Option(None, help="those of a replay, by the name of its run; else live's"),
    limit: int = typer.Option(50, min=1, max=10_000, help="at most so many"),
    words: bool = typer.Option(False, "--words", help="of one surge: words that its texts say and its key did not"),
    json: bool = typer.Option(False, "--json", help="one JSON object a line"),
) -> None:
    if words and id is None:
        raise UsageError("--words goes with the id of one alert: tocsin alerts ID --words")
    from sqlalchemy import select

    from alerts import tables
    from alerts.routing import LIVE_RUN
    from alerts.store import transaction

    a = tables.alerts.c
    wanted = select(tables.alerts).order_by(a.opened_at.desc(), a.id).limit(limit)
    if open:
        wanted = wanted.where(a.state == "open")
    if stream is not None:
        wanted = wanted.where(a.stream == stream)
    if id is None:
        wanted = wanted.where(a.run == (run or LIVE_RUN))
    else:
        wanted = wanted.where(a.id == id)
    with database() as db:
        with transaction(db.engine) as connection:
            rows = connection.execute(wanted).all()
        if id is not None and not rows:
            raise NotFound(f"there is no alert {id!r}; `tocsin alerts` shows them")
        more = words_of(db, id) if words and id is not None else {}
    if json or id is not None:
        for row in rows:
            print_json({"state": row.state, "kind": row.kind, "alert": row.latest, **more})
        return
    print_table(
        ("opened", "state", "severity", "key", "observed", "expected", "id"),
        [
            (
                row.opened_at.isoformat(timespec="seconds"),
                row.state,
                row.severity,
                row.latest.get("key") or row.group,
                row.latest.get("observed"),
                row.latest.get("expected"),
                row.id,
            )
            for row in rows
        ],
    )


@app.command("list", help=described("Deliveries, newest first.", "tocsin deliveries list --state exhausted"))
def list_newest(
    state: str | None = typer.Option(None, help="pending, delivered, exhausted or cancelled"),
    subscription: str | None = typer.Option(None, help="only those of one subscription"),
    alert: str | None = typer.Option(None, help="only those of one alert"),
    limit: int = typer.Option(50, min=1, max=10_000, help="at most so many"),
    json: bool = typer.Option(False, "--json", help="one JSON object a line"),
) -> None:
    from alerts import deliveries
    from alerts.store import transaction

    states = ("pending", "delivered", "exhausted", "cancelled")
    if state is not None and state not in states:
        raise UsageError(f"--state is one of {', '.join(states)}, not {state!r}")
    with database() as db, transaction(db.engine) as connection:
        found = deliveries.list_newest(connection, state=state, subscription=subscription, alert=alert, limit=limit)
    if json:
        for one in found:
            print_json(asdict(one))
        return
    print_table(
        ("id", "subscription", "alert", "step", "state", "attempts", "due"),
        [
            (
                one.id,
                one.subscription,
                one.alert,
                one.sequence,
                one.state,
                one.attempts,
                one.due_at.isoformat(timespec="seconds") if one.state == "pending" else "",
            )
            for one in found
        ],
    )


@app.command(
    help=described("Every attempt of one delivery, one JSON object a line.", "tocsin deliveries show msg_1f...")
)
def show(id: str = typer.Argument(help="as `tocsin deliveries list` shows it")) -> None:
    from alerts import deliveries
    from alerts.store import transaction

    with database() as db, transaction(db.engine) as connection:
        attempts = deliveries.attempts_of(connection, id)
    for one in attempts:
        print_json(asdict(one) | {"response": one.response.decode("utf-8", "replace")})


@app.command(
    help=described("Queue one delivery again, with the same webhook-id.", "tocsin deliveries resend msg_1f...")
)
def resend(id: str = typer.Argument(help="as `tocsin deliveries list` shows it")) -> None:
    from alerts import deliveries
    from alerts.store import transaction

    with database() as db, transaction(db.engine) as connection:
        deliveries.resend(connection, id, now_us())
    say(f"queued {id}; a running `tocsin up` sends it now")


@app.command(
    help=described(
        "Queue again all that a subscription missed since a time.",
        "tocsin deliveries recover sub_1f... --since 2026-03-02",
    )
)
def recover(
    subscription: str = typer.Argument(help="as `tocsin subscriptions list` shows it"),
    since: str = typer.Option(..., help="a time, for example 2026-03-02T10:00Z"),
) -> None:
    from alerts import deliveries
    from alerts.store import transaction
    from pipeline.errors import BrokenItem
    from pipeline.ingest.timestamps import parse_time

    try:
        since_us = parse_time(since, received_us=now_us(), zone=None)
    except BrokenItem as error:
        raise UsageError(f"--since: {error}") from None
    with database() as db, transaction(db.engine) as connection:
        count = deliveries.recover(connection, subscription, since_us, now_us())
    say(f"queued {count} deliveries again")
