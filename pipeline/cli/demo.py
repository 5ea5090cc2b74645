"""`tocsin demo`: the main job on a generated day."""

from __future__ import annotations

import time

import typer

from pipeline.cli.engines import EngineName
from pipeline.cli.output import print_json, say
from pipeline.cli.table import print_table

_HELP = """Run a generated day of news, logs and health reports through everything, to a verified webhook.

Exit code 0 only if all planted surges were found and every webhook verified. Example:

\b
  tocsin demo --seed 7
"""


def register(app: typer.Typer) -> None:
    app.command("demo", help=_HELP)(demo)


def demo(
    seed: int = typer.Option(1, min=0, help="which day"),
    engine: EngineName = typer.Option(EngineName.auto, help="what runs the classifier; null is a hash: finds nothing"),
    json: bool = typer.Option(False, "--json", help="one JSON object, last on standard output"),
) -> None:
    began = time.monotonic()

    def progress(text: str) -> None:
        say(f"[{time.monotonic() - began:5.1f} s] {text}")

    progress("loading")
    from pipeline.demo.run import run_demo, table_of

    outcome = run_demo(seed, engine.value, progress)
    head, rows = table_of(outcome)
    if json:
        for row in rows:
            say("  ".join(cell for cell in row if cell))
        print_json(outcome.as_json())
    else:
        print_table(head, rows)
        print(
            f"{len(outcome.result.found)} of {outcome.planted} planted surges found, "
            f"{len(outcome.result.false_alarms)} false alarms, {outcome.verified} of {outcome.deliveries} webhooks "
            f"delivered and verified, {outcome.seconds:.1f} s"
        )
    if not outcome.passed:
        raise typer.Exit(1)
