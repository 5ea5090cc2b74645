"""`tocsin bench`: how fast it is on this machine."""

from __future__ import annotations

import typer

from pipeline.cli.engines import EngineName
from pipeline.cli.output import print_json, say

app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)

_PIPELINE = """From an NDJSON file to committed surges: decode, mask, score, count, detect, store in Postgres.

Items of 200 bytes over 1,000 keys, in a file that is made first. Example:

\b
  tocsin bench pipeline --signals 200000 --engine null --json
"""


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="bench")


@app.callback()
def _bench() -> None:
    """A group, also while it has one member."""


@app.command(help=_PIPELINE)
def pipeline(
    signals: int = typer.Option(200_000, min=1000, help="items to run through"),
    keys: int = typer.Option(1000, min=1, help="distinct keys"),
    engine: EngineName = typer.Option(
        EngineName.null, help="what runs the classifier; null is a hash: the classifier costs nothing"
    ),
    json: bool = typer.Option(False, "--json", help="one JSON object"),
) -> None:
    from pipeline.runtime.bench import bench_pipeline

    if engine is EngineName.null:
        say("engine null: scores are a hash of the text; this measures everything but the classifier")
    result = bench_pipeline(signals=signals, keys=keys, engine_name=engine.value)
    if json:
        print_json(result)
    else:
        for name, value in result.items():
            print(f"{name:20} {value}")
