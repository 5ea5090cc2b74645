"""`tocsin streams`: which definitions are in force on Kafka, and bringing the stream file into force."""

from __future__ import annotations

from pathlib import Path

import typer

from pipeline.cli.help import described
from pipeline.cli.output import print_json, say
from pipeline.cli.table import print_table
from pipeline.errors import UsageError

app = typer.Typer(help="The stream definitions that are in force on Kafka.", no_args_is_help=True)

_APPLY = described(
    "Bring the stream file into force. A new stream begins at once. A definition that changed takes effect at the "
    "start of a tick, in every partition: that of --at, else the first one that no clock has reached. A stream that "
    "the file leaves out goes on. Applying a file again changes nothing.",
    "tocsin streams apply --streams streams.toml --at 2026-11-25T18:00:00Z",
)
_LIST = described("The definitions that were ever in force, by stream.", "tocsin streams list --json")


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="streams")


@app.command(help=_APPLY)
def apply(
    streams: Path | None = typer.Option(
        None, exists=True, dir_okay=False, help="the stream file; else the configured one"
    ),
    at: str | None = typer.Option(None, help="the start of the first tick of changed definitions"),
    json: bool = typer.Option(False, "--json", help="one JSON object for each stream, one a line"),
) -> None:
    from pipeline.clock import now_us
    from pipeline.instants import to_iso
    from pipeline.kafka.clock_states import clock_states
    from pipeline.kafka.cluster import Cluster
    from pipeline.kafka.definitions import Definitions
    from pipeline.kafka.names import Names
    from pipeline.kafka.registry import Registry
    from pipeline.settings import load as load_settings
    from pipeline.stream_file import load as load_streams

    settings = load_settings(streams=streams)
    file = load_streams(settings.streams)
    names, cluster = Names.of(settings), Cluster(settings)
    at_us = None if at is None else _instant(at)
    definitions = Definitions(settings, Registry(settings), lambda: clock_states(cluster, names), now_us=now_us)
    for definition in file.streams.values():
        change = definitions.apply(definition, at_us)
        if json:
            print_json(change._asdict())
        else:
            since = f", from {to_iso(change.from_us)} on" if change.from_us else ""
            say(f"{change.stream}: {change.what}, definition {change.number}{since}")
        for source in definition.sources:
            if source.kind != "push":
                topic = names.raw(definition.name, source.name)
                name = f"{definition.name}/{source.name}"
                say(f"{name}: nobody reads a {source.kind} on Kafka; have its items written to {topic}")


@app.command("list", help=_LIST)
def list_definitions(json: bool = typer.Option(False, "--json", help="one JSON object a definition")) -> None:
    from pipeline.instants import to_iso
    from pipeline.kafka.registry import Registry
    from pipeline.settings import load as load_settings

    registry = Registry(load_settings())
    registry.read()
    turns = [turn for stream in registry.streams() for turn in registry.turns(stream)]
    if json:
        for turn in turns:
            print_json(
                {
                    "stream": turn.definition.name,
                    "number": turn.number,
                    "version": turn.definition.version,
                    "from": to_iso(turn.from_us) if turn.from_us else None,
                    "clocks": list(turn.definition.clocks),
                }
            )
        return
    rows = [
        [
            turn.definition.name,
            str(turn.number),
            turn.definition.version,
            to_iso(turn.from_us) if turn.from_us else "the beginning" if turn.number == 1 else "its announcement",
            str(len(turn.definition.clocks)),
        ]
        for turn in turns
    ]
    print_table(["stream", "number", "version", "in force from", "clocks"], rows)


def _instant(text: str) -> int:
    from pipeline.clock import now_us
    from pipeline.errors import BrokenItem
    from pipeline.ingest.timestamps import parse_time

    try:
        return parse_time(text, received_us=now_us(), zone=None)
    except BrokenItem as error:
        raise UsageError(f"--at: {error.reason}") from None
