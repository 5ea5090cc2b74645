"""`tocsin replay`: the folds over history: files, what `up` has recorded, or a range on Kafka and in the archive."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

import typer

from pipeline.cli.classifiers import NAMES
from pipeline.cli.engines import ENGINE, EngineName
from pipeline.cli.recorded import replay_recorded_streams
from pipeline.cli.replayed_files import replay_files
from pipeline.cli.replayed_history import replay_history
from pipeline.errors import UsageError

_EXAMPLE = """Read history through the same folds as live: isolated, nothing delivered, the same on every run.

Prints each step in the life of a surge, with its evidence. Of a range (--from, --to) it reads the recorded scores, from
the archive and from Kafka, and says whether live has found the same. Example:

\b
  tocsin replay access.log.gz --stream logs --tick 5m
  tocsin replay cases.csv --stream health --time-column week --bad-column ill --total-column seen --tick 1w --json
  tocsin replay --from 2026-11-01 --to 2026-11-08 --stream logs
  tocsin replay --from 2026-11-01 --to 2026-11-08 --rescore models/candidate --into candidate
"""


class _Form(Enum):
    """What a file holds, as the command line names it."""

    auto = "auto"
    json = "json"
    csv = "csv"
    line = "line"


def register(app: typer.Typer) -> None:
    app.command("replay", help=_EXAMPLE)(replay)


def replay(
    files: list[Path] = typer.Argument(None, help="files, plain or gzip: JSON lines, CSV or log lines"),
    recorded: bool = typer.Option(False, "--recorded", help="no files: what `up` has recorded, beside what it found"),
    from_: str | None = typer.Option(None, "--from", help="no files: history on Kafka and in the archive from then on"),
    to: str | None = typer.Option(None, "--to", help="with --from: ticks that begin before then"),
    into: str | None = typer.Option(None, help="with --from: store what it finds under this run, apart from live"),
    deliver: bool = typer.Option(False, "--deliver", help="with --into: tell subscribers as well"),
    rescore: str | None = typer.Option(None, help=f"with --from: score again, with an engine, or {NAMES}"),
    stream: str | None = typer.Option(None, help="the stream whose definition to use, or that is replayed"),
    streams: Path | None = typer.Option(
        None, exists=True, dir_okay=False, help="the stream file; else the configured one"
    ),
    form: _Form = typer.Option(_Form.auto, help="what the files hold"),
    time_column: str | None = typer.Option(None, help='where the time is; "YEAR,WEEK" joins two columns'),
    text_column: str | None = typer.Option(None, help="where the text is"),
    id_column: str | None = typer.Option(None, help="where an id is"),
    source_column: str | None = typer.Option(None, help="where the source is"),
    bad_column: str | None = typer.Option(None, help="where a count of bad ones is: rows that are counted already"),
    total_column: str | None = typer.Option(None, help="where a count of all is"),
    column: list[str] = typer.Option([], help="FIELD=COLUMN for any other field, for example region=REGION"),
    tick: str | None = typer.Option(None, help='width of a tick, for example "5m", "1d", "1w"'),
    count: str | None = typer.Option(None, help="share or number"),
    group: list[str] = typer.Option([], help="dimensions of a group, instead of the stream's"),
    member: list[str] = typer.Option([], help="dimensions of a member, instead of the stream's"),
    threshold: float | None = typer.Option(None, help="a score from here on is bad"),
    engine: EngineName | None = ENGINE,
    batch: int | None = typer.Option(None, min=1, help="items folded in one step; changes nothing but speed"),
    as_of: str | None = typer.Option(None, help="received time of the items; else the file's modification time"),
    dead: bool = typer.Option(False, "--dead", help="list the dead letters on standard error, masked"),
    json: bool = typer.Option(False, "--json", help="one JSON object a transition on standard output"),
) -> None:
    named = {
        "time": time_column,
        "text": text_column,
        "id": id_column,
        "source": source_column,
        "bad": bad_column,
        "total": total_column,
    }
    columns = {field: name for field, name in named.items() if name is not None}
    changes = (streams, columns, column, tick, count, group, member, threshold, engine, batch, as_of)
    of_files = bool(files or dead or form is not _Form.auto or any(changes))
    if from_ is not None or to is not None:
        if recorded:
            raise UsageError("--recorded replays all that `up` has recorded: leave it out, or --from and --to")
        if of_files:
            raise UsageError(
                "--from and --to take no files, and no options but --stream, --into, --deliver, --rescore and --json: "
                "the rest is recorded"
            )
        if from_ is None or to is None:
            raise UsageError("say both --from and --to, for example --from 2026-11-01 --to 2026-11-02")
        replay_history(from_, to, stream=stream, into=into, deliver=deliver, rescore=rescore, json=json)
        return
    if into is not None or deliver or rescore is not None:
        raise UsageError("--into, --deliver and --rescore go with --from and --to")
    if recorded:
        if of_files:
            raise UsageError("--recorded takes no files, and no options but --stream and --json: the rest is recorded")
        replay_recorded_streams(stream, json=json)
        return
    if not files:
        raise UsageError("name files to replay, or say --recorded, or --from and --to")
    if "" in columns.values():
        raise UsageError("a column needs a name, for example --text-column message")
    replay_files(
        files,
        stream=stream,
        streams=streams,
        engine=engine and engine.value,
        form=form.value,
        batch=batch,
        as_of=as_of,
        dead=dead,
        json=json,
        columns=columns,
        more_columns=column,
        tick=tick,
        count=count,
        group=group,
        member=member,
        threshold=threshold,
    )
