"""`tocsin replay FILES`: the folds over files of history."""

from __future__ import annotations

from pathlib import Path

from pipeline.cli.columns import parsed_pairs
from pipeline.cli.output import say
from pipeline.cli.progress import Progress
from pipeline.cli.transitions import print_transition
from pipeline.durations import parse_duration
from pipeline.errors import SourceError, UsageError
from pipeline.ingest.masking import mask
from pipeline.instants import to_iso
from pipeline.records import DeadLetter
from pipeline.stream_rules import broken_rule, unknown_field
from pipeline.streams import Definition, FileForm, adapted

#: Items folded in one step: some full batches of the classifier, and progress every few seconds. Fixed, since a score
#: depends in its last bits on the batch that it was computed in, and a replay prints the same on every run.
_STEP_ITEMS = 512


def replay_files(
    files: list[Path],
    *,
    stream: str | None,
    streams: Path | None,
    engine: str | None,
    form: FileForm,
    batch: int | None,
    as_of: str | None,
    dead: bool,
    json: bool,
    columns: dict[str, str],
    more_columns: list[str],
    tick: str | None,
    count: str | None,
    group: list[str],
    member: list[str],
    threshold: float | None,
) -> None:
    """Replay files as one stream of the stream file, its definition changed as the options say."""
    from pipeline.runtime.classifier import loader
    from pipeline.runtime.collector import settle
    from pipeline.runtime.replay import FileReplay
    from pipeline.scoring.scorer import Scorer
    from pipeline.settings import load as load_settings
    from pipeline.stream_file import load as load_streams

    settings = load_settings(streams=streams, engine=engine)
    file = load_streams(settings.streams)
    if stream is None or stream not in file.streams:
        known = ", ".join(file.streams)
        raise UsageError(f"there is no stream {stream!r}; known: {known}" if stream else f"say --stream: {known}")
    definition = _adapted(
        file.streams[stream],
        columns=columns | parsed_pairs(more_columns),
        tick=tick,
        count=count,
        group=group,
        member=member,
        threshold=threshold,
    )
    chosen = loader(settings, file.topics)(settings.model)
    if chosen.name == "null":
        say("engine null: scores are a hash of the text and mean nothing; for tests and benches only")
    scorer = Scorer(chosen, cache_entries=settings.cache_entries, batch_tokens=settings.batch_tokens)
    history = FileReplay(
        definition,
        files,
        scorer,
        form=form,
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
