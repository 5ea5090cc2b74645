"""`tocsin subscribe` and `tocsin subscriptions`: who is told of what, and where."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

import typer

from pipeline.cli.database import database
from pipeline.cli.help import described
from pipeline.cli.output import print_json, say, show
from pipeline.cli.table import print_table
from pipeline.clock import now_us

_SUBSCRIBE = """Send surges to a webhook, signed by the Standard Webhooks scheme. The secret is shown once.

Example:

\b
  tocsin subscribe https://hooks.example.org/tocsin --stream 'logs' --group 'source:web*' --min-severity warning
"""

_ID = "as `tocsin subscriptions list` shows it"

app = typer.Typer(help="List, test, rotate, enable and remove subscriptions.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    root.command("subscribe", help=_SUBSCRIBE)(subscribe)
    root.add_typer(app, name="subscriptions")


def subscribe(
    url: str = typer.Argument(help="https://... ; private addresses only where egress_allow opens them"),
    stream: str = typer.Option("*", help="pattern of streams"),
    group: str = typer.Option("*", help="pattern of groups, for example 'topic:finance'"),
    min_severity: str = typer.Option("info", help="info, warning or critical"),
    state: list[str] = typer.Option([], help="opened, grew, resolved; all when not given"),
    json: bool = typer.Option(False, "--json", help="one JSON object"),
) -> None:
    from alerts import subscriptions
    from alerts.caller import look_up
    from alerts.egress import Allowed, parse_url
    from alerts.routing import STATES, Route
    from alerts.store import transaction

    wanted = Route(stream=stream, group=group, min_severity=min_severity, states=tuple(state) or STATES)  # type: ignore[arg-type]
    with database() as db:
        allowed = Allowed.parse(db.settings.egress_allow, http=db.settings.egress_http)
        warning = look_up(parse_url(url), allowed)
        with transaction(db.engine) as connection:
            made, secret = subscriptions.add(connection, url=url, wanted=wanted, keyring=db.keyring, now_us=now_us())
    if warning:
        say(f"warning: {warning}; deliveries are tried again until it does")
    if json:
        print_json({"id": made.id, "url": made.url, "secret": secret})
        return
    print(f"subscription {made.id}")
    print(f"secret       {secret}   (shown once: the receiver verifies signatures with it)")
    say(f"try it: tocsin subscriptions test {made.id}")


@app.command("list", help=described("All subscriptions.", "tocsin subscriptions list --json"))
def list_all(json: bool = typer.Option(False, "--json", help="one JSON object a line")) -> None:
    from alerts import subscriptions
    from alerts.store import transaction

    with database() as db, transaction(db.engine) as connection:
        found = subscriptions.list_all(connection)
    if json:
        for one in found:
            print_json(asdict(one))
        return
    print_table(
        ("id", "url", "stream", "group", "from severity", "state"),
        [
            (
                one.id,
                one.url,
                one.route.stream,
                one.route.group,
                one.route.min_severity,
                "enabled" if one.enabled else f"disabled: {one.disabled_reason}",
            )
            for one in found
        ],
    )


@app.command(help=described("Send a sample now and show the answer.", "tocsin subscriptions test sub_1f..."))
def test(
    id: str = typer.Argument(help=_ID),
    json: bool = typer.Option(False, "--json", help="one JSON object"),
) -> None:
    from alerts import subscriptions
    from alerts.egress import Allowed
    from alerts.sample import send_sample
    from alerts.store import transaction

    with database() as db:
        with transaction(db.engine) as connection:
            one = subscriptions.get(connection, id)
            keys = subscriptions.keys(connection, id, db.keyring, now_us())
        allowed = Allowed.parse(db.settings.egress_allow, http=db.settings.egress_http)
        answer = asyncio.run(send_sample(subscription=id, url=one.url, keys=keys, allowed=allowed, now_us=now_us()))
    fine = answer.status is not None and 200 <= answer.status < 300
    if json:
        print_json({"delivered": fine, "status": answer.status, "error": answer.error})
    else:
        show(f"{'delivered' if fine else 'not delivered'}: {answer.status or answer.error}")
    if not fine:
        raise typer.Exit(1)


@app.command(
    help=described(
        "End a subscription; what is still to be sent to it is cancelled.", "tocsin subscriptions remove sub_1f..."
    )
)
def remove(id: str = typer.Argument(help=_ID)) -> None:
    from alerts import subscriptions
    from alerts.store import transaction

    with database() as db, transaction(db.engine) as connection:
        subscriptions.remove(connection, id)
    say(f"removed {id}")


@app.command(
    help=described("Deliver again to a subscription that was disabled.", "tocsin subscriptions enable sub_1f...")
)
def enable(id: str = typer.Argument(help=_ID)) -> None:
    from alerts import endpoints
    from alerts.store import transaction

    with database() as db, transaction(db.engine) as connection:
        endpoints.enable(connection, id, now_us())
    say(f"enabled {id}")


@app.command(
    help=described("Make a new secret; the old one also signs for 24 hours.", "tocsin subscriptions rotate sub_1f...")
)
def rotate(id: str = typer.Argument(help=_ID)) -> None:
    from alerts import subscriptions
    from alerts.store import transaction

    with database() as db, transaction(db.engine) as connection:
        secret = subscriptions.rotate(connection, id, keyring=db.keyring, now_us=now_us())
    print(secret)
