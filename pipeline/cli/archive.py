"""`tocsin archive`: the score log on Kafka into Parquet."""

from __future__ import annotations

import signal
import threading
from contextlib import nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import typer

from pipeline.cli.output import print_json, say
from pipeline.cli.progress import Progress
from pipeline.durations import parse_duration
from pipeline.errors import BrokerUnavailable, UsageError

if TYPE_CHECKING:
    from pipeline.kafka.archive import Archiver

_HELP = """Write signals, scores and states to Parquet by stream and day, each exactly once: for replay and for tools.

Archives what the log of scores on Kafka holds as of now, and ends; call it from cron, or say --follow. It may be
killed at any time: the next call goes on where it was. Example:

\b
  export TOCSIN_KAFKA=localhost:9092 TOCSIN_ARCHIVE=/srv/tocsin-archive
  tocsin archive
  tocsin archive --follow --every 5m
"""


def register(app: typer.Typer) -> None:
    app.command("archive", help=_HELP)(archive)


def archive(
    folder: Path | None = typer.Option(None, help="the archive's folder; else the configured one"),
    follow: bool = typer.Option(False, "--follow", help="go on, until it is told to stop"),
    every: str | None = typer.Option(None, help='with --follow: how often files are written; "1m" when not said'),
    from_log_start: bool = typer.Option(
        False, "--from-log-start", help="go on although a part of the log was lost; replay cannot cross that hole"
    ),
    forget_before: str | None = typer.Option(
        None, help="only this: remove what no replay from that time on needs, for example 2025-01-01"
    ),
    json: bool = typer.Option(False, "--json", help="one JSON object at the end"),
) -> None:
    if forget_before is not None:
        if follow or every is not None or from_log_start:
            raise UsageError("--forget-before archives nothing: leave --follow, --every and --from-log-start out")
        _forget(folder, forget_before, json=json)
        return
    if every is not None and not follow:
        raise UsageError("--every goes with --follow")
    try:
        every_s = parse_duration(every or "1m") / 1_000_000
    except ValueError as error:
        raise UsageError(f"--every: {error}") from None
    from pipeline.archive.archive import Archive
    from pipeline.archive.chunks import only_writer
    from pipeline.kafka.archive import Archiver
    from pipeline.kafka.health import Health
    from pipeline.kafka.registry import Registry
    from pipeline.kafka.score_topic import ScoreTopic
    from pipeline.kafka.worker import Context, observed
    from pipeline.settings import load as load_settings
    from pipeline.stream_file import load as load_streams

    settings = load_settings(archive=folder)
    place = settings.archive_folder.absolute()
    topic, registry = ScoreTopic(settings), Registry(settings)
    stop = threading.Event()

    def asked(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, asked)
    signal.signal(signal.SIGINT, asked)
    signals = slices = 0
    health = Health("archive")
    context = Context(settings=settings, file=load_streams(settings.streams), health=health, stop=stop)
    # The port is for who goes on; a call from cron would find that of a worker beside it.
    with only_writer(place), observed(context) if follow else nullcontext():
        archiver = Archiver(Archive(place), topic, registry)
        while True:
            try:
                more = _run(archiver, stop, accept_hole=from_log_start)
                signals, slices, from_log_start = signals + more[0], slices + more[1], False
                context.metrics.signals.inc(more[0])
                health.ok("kafka")
            except BrokerUnavailable as error:
                if not follow:
                    raise
                health.trouble("kafka", str(error))
            if not follow or stop.wait(every_s):
                break
    if json:
        print_json({"folder": str(place), "signals": signals, "slices": slices})
    say(f"archived {signals:,} signals in {slices:,} slices to {place}")


def _forget(folder: Path | None, before: str, *, json: bool) -> None:
    from pipeline.archive.archive import Archive
    from pipeline.archive.chunks import only_writer
    from pipeline.cli.instant import instant
    from pipeline.settings import load as load_settings

    before_us = instant("--forget-before", before)
    place = load_settings(archive=folder).archive_folder.absolute()
    archive = Archive(place)
    if archive.head is None:
        raise UsageError(f"{place} holds no archive")
    with only_writer(place):
        removed = sum(archive.forget(stream, before_us) for stream in archive.streams())
    if json:
        print_json({"folder": str(place), "removed": removed})
    say(f"removed {removed:,} files of {place}: replays from {before} on need none of them")


def _run(archiver: Archiver, stop: threading.Event, *, accept_hole: bool) -> tuple[int, int]:
    """Signals and slices that became part of the archive."""
    progress = Progress("archive", "signals")
    signals = slices = 0
    for written in archiver.run(accept_hole=accept_hole, stopped=stop.is_set):
        signals, slices = signals + written.signals, slices + written.slices
        progress.update(signals, archiver.part)
    progress.close()
    return signals, slices
