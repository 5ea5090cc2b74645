"""`tocsin run NAME`: one worker of the Kafka runtime."""

from __future__ import annotations

import importlib
import signal
from enum import Enum
from pathlib import Path
from types import FrameType

import typer

from pipeline.cli.engines import ENGINE, EngineName
from pipeline.cli.output import say

_HELP = """Run one worker of the Kafka runtime, until it is told to stop. Run any number of each.

ingest reads raw topics; score runs the classifier; aggregate counts and judges; dispatch stores surges in Postgres;
deliver sends webhooks; api takes items over HTTP. Needs TOCSIN_KAFKA; kill any of them at any time. Example:

\b
  export TOCSIN_KAFKA=localhost:9092
  tocsin topics create && tocsin streams apply
  tocsin run ingest
"""


class WorkerName(Enum):
    """The workers, in the order in which an item meets them."""

    api = "api"
    ingest = "ingest"
    score = "score"
    aggregate = "aggregate"
    dispatch = "dispatch"
    deliver = "deliver"


def register(app: typer.Typer) -> None:
    app.command("run", help=_HELP)(run)


def run(
    worker: WorkerName = typer.Argument(..., help="which one"),
    streams: Path | None = typer.Option(
        None, exists=True, dir_okay=False, help="the stream file; else the configured one"
    ),
    engine: EngineName | None = ENGINE,
    metrics_port: int | None = typer.Option(None, min=0, max=65535, help="port of /metrics, /healthz and /readyz"),
) -> None:
    from pipeline.errors import ConfigurationError
    from pipeline.kafka.health import Health
    from pipeline.kafka.worker import Context, observed
    from pipeline.runtime.collector import settle
    from pipeline.settings import load as load_settings
    from pipeline.stream_file import load as load_streams

    settings = load_settings(streams=streams, engine=engine and engine.value, metrics_port=metrics_port)
    if not settings.kafka:
        raise ConfigurationError("no Kafka is configured; set TOCSIN_KAFKA to its bootstrap servers, host:port")
    context = Context(settings=settings, file=load_streams(settings.streams), health=Health(worker.value))

    def asked(number: int, frame: FrameType | None) -> None:
        context.stop.set()

    signal.signal(signal.SIGTERM, asked)
    signal.signal(signal.SIGINT, asked)
    module = importlib.import_module(f"pipeline.kafka.{worker.value}")
    settle()
    with observed(context) as port:
        at = f", metrics on {settings.host}:{port}" if port else ""
        say(f"tocsin {worker.value} runs on {settings.kafka}, topics {settings.kafka_prefix}.*{at}")
        module.run(context)
    say(f"tocsin {worker.value}: stopped; all that was under way is committed")
