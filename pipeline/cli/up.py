"""`tocsin up`: the local runtime."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType

import typer

from pipeline.cli.engines import ENGINE, EngineName
from pipeline.cli.output import say

_HELP = """Run the whole pipeline on this machine: sources, classifier, surges, deliveries and the push API.

Stop it in any way at any time: it goes on where it was. Example:

\b
  TOCSIN_STREAMS=streams.toml tocsin up
  curl -H 'content-type: application/json' -d '{"text":"disk failed","source":"web1"}' \\
    'localhost:8787/v1/items?stream=logs'
"""


def register(app: typer.Typer) -> None:
    app.command("up", help=_HELP)(up)


def up(
    streams: Path | None = typer.Option(
        None, exists=True, dir_okay=False, help="the stream file; else the configured one"
    ),
    data: Path | None = typer.Option(None, help="the data folder; else the configured one"),
    engine: EngineName | None = ENGINE,
    host: str | None = typer.Option(None, help="address that the push API listens on"),
    port: int | None = typer.Option(None, min=0, max=65535, help="port of the push API; 0: any free one"),
) -> None:
    from pipeline.runtime.classifier import loader
    from pipeline.runtime.collector import settle
    from pipeline.runtime.local import running
    from pipeline.settings import check_push
    from pipeline.settings import load as load_settings
    from pipeline.stream_file import load as load_streams

    settings = load_settings(streams=streams, data=data, engine=engine and engine.value, host=host, port=port)
    check_push(settings)
    file = load_streams(settings.streams)
    load = loader(settings, file.topics)
    if settings.engine == "null":
        say("engine null: scores are a hash of the text and mean nothing; for tests and benches only")
    stop = threading.Event()

    def asked(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, asked)
    signal.signal(signal.SIGINT, asked)
    settle()
    with running(settings, file, lambda: load(settings.model)) as runtime:
        where = f"data in {settings.data.absolute()}"
        say(f"tocsin is up: push to {runtime.url}/v1/items, engine {runtime.engine}, {where}")
        while not stop.wait(0.5) and runtime.error is None:
            pass
        if runtime.error is None:
            say("stopping: storing what is folded, delivering what is under way")
    if runtime.error is not None:
        raise runtime.error
