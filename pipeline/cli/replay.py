"""`tocsin replay`: the folds over files of history."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

import typer

from pipeline.cli.engines import ENGINE, EngineName
from pipeline.cli.output import say
from pipeline.cli.progress import Progress
from pipeline.cli.recorded import replay_recorded_streams
from pipeline.cli.transitions import print_transition
from pipeline.durations import parse_duration
from pipeline.errors import SourceError, UsageError
from pipeline.ingest.masking import mask
from pipeline.instants import to_iso
from pipeline.records import DeadLetter
from pipeline.stream_rules import broken_rule, unknown_field
from pipeline.streams import Definition, adapted

_EXAMPLE = """Read history through the same folds as live: isolated, nothing delivered, the same on every run.

Prints each step in the life of a surge, with its evidence. Example:

\b
  tocsin replay access.log.gz --stream logs --tick 5m
  tocsin replay cases.csv --stream health --time-column week --bad-column ill --total-column seen --tick 1w --json
"""


#: Items folded in one step: some full batches of the classifier, and progress every few seconds. Fixed, since a score
#: depends in its last bits on the batch that it was computed in, and a replay prints the same on every run.
_STEP_ITEMS = 512


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
    stream: str | None = typer.Option(None, help="the stream whose definition to use"),
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
    if recorded:
        changes = (streams, columns, column, tick, count, group, member, threshold, engine, batch, as_of)
        if files or dead or form is not _Form.auto or any(changes):
            raise UsageError("--recorded takes no files, and no options but --stream and --json: the rest is recorded")
        replay_recorded_streams(stream, json=json)
        return
    if not files:
        raise UsageError("name files to replay, or say --recorded")
    if "" in columns.values():
        raise UsageError("a column needs a name, for example --text-column message")
    from model.engines.choose import load_engine
    from pipeline.runtime.collector import settle
    from pipeline.runtime.replay import FileReplay
    from pipeline.scoring.scorer import Scorer
    from pipeline.settings import load as load_settings
    from pipeline.stream_file import load as load_streams

    settings = load_settings(streams=streams, engine=engine and engine.value)
    file = load_streams(settings.streams)
    if stream is None or stream not in file.streams:
        known = ", ".join(file.streams)
        raise UsageError(f"there is no stream {stream!r}; known: {known}" if stream else f"say --stream: {known}")
    definition = _adapted(
        file.streams[stream],
        columns=columns | _pairs(column),
        tick=tick,
        count=count,
        group=group,
        member=member,
        threshold=threshold,
    )
    chosen = load_engine(settings.engine, folder=settings.model, topics=file.topics)
    if chosen.name == "null":
        say("engine null: scores are a hash of the text and mean nothing; for tests and benches only")
    scorer = Scorer(chosen, cache_entries=settings.cache_entries, batch_tokens=settings.batch_tokens)
    history = FileReplay(
        definition,
        files,
        scorer,
        form=form.value,
        as_of_us=lambda path: _as_of_us(path, as_of),
        slice_items=batch or _STEP_ITEMS,
        buckets=settings.buckets,
    )
    settle()
    _run(history, files, dead=dead, json=json)


def _run(history: object, files: list[Path], *, dead: bool, json: bool) -> None:
    from pipeline.detect.digest import digest
    from pipeline.runtime.replay import FileReplay

    assert isinstance(history, FileReplay)
    try:
        history.begin()
    except SourceError as error:  # nothing was printed yet: the command named a wrong file or column
        raise UsageError(str(error)) from None
    progress = Progress("replay", "items")
    size = sum(path.stat().st_size for path in files)
    transitions = []
    reasons: dict[str, int] = {}
    for step in history.steps():
        for transition in step.transitions:
            transitions.append(transition)
            progress.close()
            print_transition(transition, json=json)
        for letter in step.dead:
            reason = mask(letter.reason, ip=True)
            reasons[reason] = reasons.get(reason, 0) + 1
            if dead:
                say(_dead_line(letter))
        progress.update(step.items, step.bytes_read / max(size, 1))
    progress.close()
    counts = history.counts
    say(
        f"{counts.items:,} items = {counts.counted:,} counted + {counts.late:,} late + "
        f"{counts.duplicates:,} duplicates + {counts.dead:,} dead letters; "
        f"{sum(t.state == 'opened' for t in transitions)} surges; digest {digest(transitions)[:16]}"
    )
    for reason, n in sorted(reasons.items(), key=lambda item: -item[1])[:5]:
        say(f"  dead letters: {n:,} x {reason}")


def _adapted(
    definition: Definition,
    *,
    columns: dict[str, str],
    tick: str | None,
    count: str | None,
    group: list[str],
    member: list[str],
    threshold: float | None,
) -> Definition:
    changes: dict[str, object] = {}
    if columns:
        changes["columns"] = dict(definition.columns) | columns
    if tick is not None:
        try:
            changes["tick_us"] = parse_duration(tick)
        except ValueError as error:
            raise UsageError(f"--tick: {error}") from None
    if count is not None:
        if count not in ("share", "number"):
            raise UsageError(f'--count is "share" or "number", not {count!r}')
        changes["count"] = count
    if group or member:
        changes["group"] = tuple(group) or definition.group
        changes["member"] = tuple(member)
    if threshold is not None:
        changes["threshold"] = threshold
    changed = adapted(definition, **changes)
    if broken := broken_rule(changed):
        raise UsageError(f"--{broken[0]}: {broken[1]}")
    if unknown := unknown_field(columns, changed):
        raise UsageError(f"--column: {unknown}")
    return changed


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        field, equals, name = text.partition("=")
        if not (equals and field and name):
            raise UsageError(f"--column {text!r}: write FIELD=COLUMN, for example region=REGION")
        pairs[field] = name
    return pairs


def _as_of_us(path: Path, as_of: str | None) -> int:
    from pipeline.errors import BrokenItem
    from pipeline.ingest.timestamps import parse_time

    try:
        modified_us = path.stat().st_mtime_ns // 1000
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; check the name") from None
    if as_of is None:
        return modified_us
    try:
        return parse_time(as_of, received_us=modified_us, zone=None)
    except BrokenItem as error:
        raise UsageError(f"--as-of: {error}") from None


def _dead_line(letter: DeadLetter) -> str:
    # Masked before it is cut, since half an address is none to the mask.
    shown = mask(letter.payload[:4000].decode("utf-8", "replace"), ip=True)[:120]
    reason = mask(letter.reason, ip=True)
    return f"dead letter at {letter.position} ({to_iso(letter.received_us)}): {reason}: {shown!r}"
