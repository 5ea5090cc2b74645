"""`tocsin push`: files into the raw log of a running pipeline."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipeline.cli.output import print_json, say
from pipeline.cli.progress import Progress
from pipeline.errors import SourceError, TocsinError, UsageError

if TYPE_CHECKING:
    from pipeline.pushing.batch import Sink
    from pipeline.pushing.pace import Pace
    from pipeline.pushing.push import Push
    from pipeline.settings import Settings
    from pipeline.streams import Definition

_HELP = """Push files into a running pipeline: into Kafka when TOCSIN_KAFKA is set, else into `tocsin up` over HTTP.

Each line, row or JSON line is an item. What was pushed before counts once: an item's id is the one that it brings, else
it comes from the sender and all that stands in the file up to there. So a file may be pushed again after a crash, or
when it has grown. That holds among the last remember_ids items of a raw partition (100,000 unless the stream says
otherwise); for more, go on with --skip, as the command says when it ends early. --again takes everything in anew. Files
of two hosts that are named alike: push each with its --source.

For history use `tocsin replay`, or a stream with clock = "data": with the clock of arrival, old items come late. There
--speed plays a file as it happened, only faster, without changing a time, and --end closes the last tick. Several
files are pushed one after the other; with --speed side by side. Example:

\b
  tocsin push app.log.gz --stream logs --source web1
  tocsin push cases.csv --stream health --time-column week --bad-column ill --total-column seen --end
  tocsin push day.jsonl --stream news --speed 60x
"""


class _Form(Enum):
    """What a file holds, as the command line names it."""

    auto = "auto"
    json = "json"
    csv = "csv"
    line = "line"


def register(app: typer.Typer) -> None:
    app.command("push", help=_HELP)(push)


def push(
    files: list[Path] = typer.Argument(..., help="files, plain or gzip: JSON lines, CSV or log lines"),
    stream: str | None = typer.Option(None, help="the stream that takes them"),
    into: str | None = typer.Option(None, help="the push source that takes them, where the stream has several"),
    source: str | None = typer.Option(None, help="who sent them, for items that do not say; else the file's name"),
    streams: Path | None = typer.Option(
        None, exists=True, dir_okay=False, help="the stream file; else the configured one"
    ),
    form: _Form = typer.Option(_Form.auto, help="what the files hold"),
    time_column: str | None = typer.Option(None, help='where the time is in a table; "YEAR,WEEK" joins two columns'),
    text_column: str | None = typer.Option(None, help="where the text is"),
    id_column: str | None = typer.Option(None, help="where an id is"),
    source_column: str | None = typer.Option(None, help="where the source is"),
    bad_column: str | None = typer.Option(None, help="where a count of bad ones is: rows that are counted already"),
    total_column: str | None = typer.Option(None, help="where a count of all is"),
    column: list[str] = typer.Option([], help="FIELD=COLUMN for any other field, for example region=REGION"),
    rate: float | None = typer.Option(None, help="items a second; else as fast as they are taken"),
    speed: str | None = typer.Option(None, help="60x: by the items' own times, 60 times faster than they happened"),
    skip: int = typer.Option(0, min=0, help="leave out so many items at the beginning"),
    again: bool = typer.Option(False, "--again", help="take everything in, also what was pushed before"),
    end: bool = typer.Option(
        False, "--end", help='then say that nothing earlier will come: closes the last tick; for clock = "data"'
    ),
    url: str | None = typer.Option(None, help="push over HTTP to this address, whatever is configured"),
    json: bool = typer.Option(False, "--json", help="one JSON object at the end on standard output"),
) -> None:
    from pipeline.cli.columns import columns_of
    from pipeline.clock import now_us
    from pipeline.pushing.files import PushFiles
    from pipeline.pushing.push import BATCH_BYTES, RUN_ITEMS, Push
    from pipeline.pushing.times import EventTimes, LastTick
    from pipeline.settings import load as load_settings
    from pipeline.stream_file import load as load_streams

    pace = _pace(rate, speed)
    if source is not None and not 0 < len(source) <= 200:
        raise UsageError("--source names the sender in 1 to 200 characters")
    settings = load_settings(streams=streams)
    definition, taker = _place(load_streams(settings.streams).streams, stream, into)
    if end and definition.clock != "data":
        raise UsageError(f'--end: stream {definition.name} keeps its own clock; only one with clock = "data" is told')
    columns = columns_of(
        definition,
        column,
        time=time_column,
        text=text_column,
        id=id_column,
        source=source_column,
        bad=bad_column,
        total=total_column,
    )
    salt = uuid.uuid4().hex if again else ""
    history = PushFiles(files, definition, form=form.value, columns=columns, source=source, salt=salt)
    times = EventTimes(definition, now_us())
    run_items = max(1, min(RUN_ITEMS, int((rate or 1e9) / 10)))
    try:
        runs = history.open(run_items, times if speed is not None else None)
    except SourceError as error:  # nothing was sent yet: the command named a wrong file or column
        raise UsageError(str(error)) from None
    last = LastTick(definition, times)
    progress = Progress("push", "items")
    began_s = time.monotonic()
    with _sink(settings, definition, taker, url) as sink:
        batch_bytes = min(BATCH_BYTES, settings.max_push_bytes // 2)
        work = Push(sink, pace, skip=skip, batch_bytes=batch_bytes)
        if speed is not None and definition.clock == "arrival":
            say(f'stream {definition.name} has the clock of arrival: items of the past come late; see clock = "data"')
        with _told_when_cut_short(work, progress):
            work.run(last.watched(runs) if end else runs, lambda: progress.update(work.read, history.part_read))
            closed_us = last.closed_by_us() if end else None
            if closed_us is not None:
                closed_us = min(closed_us, now_us())
                sink.heartbeat(closed_us)
        where = sink.where
    _report(_Outcome(work, where, time.monotonic() - began_s, closed_us), definition, taker, json=json)


def _pace(rate: float | None, speed: str | None) -> Pace:
    from pipeline.pushing.pace import AtOnce, AtRate, AtSpeed

    if rate is not None and speed is not None:
        raise UsageError("--rate and --speed do not go together: one goes by the clock, the other by the items' times")
    if rate is not None:
        if not 0 < rate <= 1e9:
            raise UsageError("--rate is a number of items a second, above 0")
        return AtRate(rate)
    if speed is None:
        return AtOnce()
    try:
        faster = float(speed.lower().removesuffix("x"))
    except ValueError:
        faster = 0.0
    if not 0 < faster <= 1e9:
        raise UsageError(f"--speed {speed!r}: say how many times faster, for example 60x")
    return AtSpeed(faster)


def _place(streams: Mapping[str, Definition], stream: str | None, into: str | None) -> tuple[Definition, str]:
    """The stream, and the name of its push source. Raises UsageError."""
    if stream is None or stream not in streams:
        known = ", ".join(streams)
        raise UsageError(f"there is no stream {stream!r}; known: {known}" if stream else f"say --stream: {known}")
    definition = streams[stream]
    takers = [source.name for source in definition.sources if source.kind == "push"]
    known = ", ".join(takers) or "none"
    if into is None and len(takers) != 1:
        raise UsageError(f"say --into, one of the push sources of {stream}: {known}")
    if into is not None and into not in takers:
        raise UsageError(f"stream {stream} has no push source {into!r}; push sources: {known}")
    return definition, into or takers[0]


@contextmanager
def _sink(settings: Settings, definition: Definition, into: str, url: str | None) -> Iterator[Sink]:
    """Where the items go. Raises TocsinError where nothing answers or the topic is missing."""
    from pipeline.pushing.patience import Patience

    patience = Patience(say)
    with ExitStack() as stack:
        if settings.kafka and url is None:
            from pipeline.kafka.health import Health
            from pipeline.kafka.names import Names
            from pipeline.kafka.push_sink import KafkaSink
            from pipeline.kafka.raw_writer import RawWriter

            names = Names.of(settings)
            writer = stack.enter_context(RawWriter(settings, name=f"push-{uuid.uuid4().hex}", health=Health("push")))
            yield KafkaSink(writer, names, definition.name, into, patience)
            return
        from pipeline.pushing.http_sink import HttpSink

        token = settings.push_token.get_secret_value() if settings.push_token else None
        sink = HttpSink(url or _own_url(settings), token, definition.name, into, patience)
        stack.callback(sink.close)
        yield sink


def _own_url(settings: Settings) -> str:
    """Where a push API with the same settings answers."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


@contextmanager
def _told_when_cut_short(work: Push, progress: Progress) -> Iterator[None]:
    """Say how far it came, and how to go on."""
    try:
        yield
    except (TocsinError, KeyboardInterrupt):
        progress.close()
        done = work.skipped + work.items
        say(f"{work.items:,} items are stored; the same command goes on with --skip {done}")
        raise
    progress.close()


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a push came to."""

    work: Push
    where: str
    took_s: float
    closed_us: int | None


def _report(outcome: _Outcome, definition: Definition, into: str, *, json: bool) -> None:
    from pipeline.instants import to_iso

    work = outcome.work
    rate = work.items / max(outcome.took_s, 1e-9)
    closed = to_iso(outcome.closed_us) if outcome.closed_us is not None else None
    if json:
        print_json(
            {
                "items": work.items,
                "repeated": work.repeated,
                "skipped": work.skipped,
                "stream": definition.name,
                "source": into,
                "to": outcome.where,
                "heartbeat": closed,
                "seconds": round(outcome.took_s, 3),
                "items_per_second": round(rate),
            }
        )
        return
    more = f", {work.repeated:,} of which were there already" if work.repeated else ""
    more += f", {work.skipped:,} skipped" if work.skipped else ""
    more += f"; told that nothing before {closed} will come" if closed else ""
    say(f"pushed {work.items:,} items into {outcome.where} in {outcome.took_s:.1f} s, {rate:,.0f} a second{more}")
