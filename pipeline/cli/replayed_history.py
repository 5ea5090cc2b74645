"""`tocsin replay --from --to`: a range of history on Kafka and in the archive, beside what live found in it."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.classifiers import classifier_folder, is_folder
from pipeline.cli.database import database
from pipeline.cli.engines import EngineName
from pipeline.cli.instant import instant
from pipeline.cli.output import say
from pipeline.cli.progress import Progress
from pipeline.cli.transitions import print_transition
from pipeline.clock import now_us
from pipeline.detect.digest import digest
from pipeline.detect.surge import in_run
from pipeline.errors import ConfigurationError, TocsinError, UsageError
from pipeline.instants import to_iso
from pipeline.records import Transition

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipeline.kafka.past import Past
    from pipeline.runtime.history import HistoryReplay
    from pipeline.scoring.scorer import Scorer
    from pipeline.settings import Settings

_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ENGINES = tuple(engine.value for engine in EngineName)
#: Transitions that are stored in one transaction.
_STORED = 200


def replay_history(
    begin: str, end: str, *, stream: str | None, into: str | None, deliver: bool, rescore: str | None, json: bool
) -> None:
    """Replay the ticks that begin between two times, of one stream or all. Raises TocsinError where live differs."""
    from_us, to_us = instant("--from", begin), instant("--to", end)
    if from_us >= to_us:
        raise UsageError(f"--from {begin} is not before --to {end}")
    if deliver and into is None:
        raise UsageError("--deliver goes with --into: deliveries are those of a run")
    from pipeline.kafka.past import Past
    from pipeline.runtime.collector import settle
    from pipeline.runtime.rescoring import Rescoring
    from pipeline.settings import load as load_settings

    if into is not None:
        _check_run(into)
    if rescore is not None and rescore not in _ENGINES and is_folder(rescore) and not Path(rescore).is_dir():
        raise UsageError(f"--rescore {rescore}: no such folder, no version and no engine ({', '.join(_ENGINES)})")
    settings = load_settings()
    if settings.database_url is None:
        raise ConfigurationError("set TOCSIN_DATABASE_URL: a replay is held beside what live has stored there")
    scorer = _scorer(settings, rescore) if rescore is not None else None
    past = Past(settings)
    names = _streams(past, stream)
    rescoring = (
        Rescoring(scorer, lambda slice: past.definition(slice.stream, slice.definition).kind) if scorer else None
    )
    replay = past.replay(names, from_us, to_us, rescore=rescoring)
    what = f"a replay of {past.name}" + (f", rescored with {scorer.version}" if scorer else "")
    settle()
    with database() as db:
        store = _Store(db.engine, into, what, deliver) if into is not None else None
        found = _run(replay, store, from_us, to_us, json=json)
        differ = [name for name in names if not _is_alike(db.engine, settings, replay, name, found[name], scorer)]
    if differ:
        raise TocsinError(
            f"replay and live differ in {', '.join(differ)}. Where `tocsin status` shows a worker that is behind, wait "
            "for it and call this again; else keep the topics and the archive, and report it"
        )


class _Store:
    """Stores transitions under a run of their own."""

    def __init__(self, engine: Engine, run: str, what: str, deliver: bool) -> None:
        from alerts import replays
        from alerts.store import transaction

        self._engine, self._run, self._deliver = engine, run, deliver
        self._waiting: list[Transition] = []
        with transaction(engine) as connection:
            replays.claim_replay(connection, run, what)

    def add(self, transitions: list[Transition], replay: HistoryReplay, stream: str) -> None:
        flow = replay.flows[stream]
        self._waiting += [in_run(t, flow.definition(t.definition), self._run) for t in transitions]
        if len(self._waiting) >= _STORED:
            self.flush()

    def flush(self) -> None:
        from alerts import dispatcher
        from alerts.store import transaction

        with transaction(self._engine) as connection:
            dispatcher.store(connection, self._waiting, now_us(), deliver=self._deliver)
        self._waiting = []


def _run(
    replay: HistoryReplay, store: _Store | None, from_us: int, to_us: int, *, json: bool
) -> defaultdict[str, list[Transition]]:
    """Fold the range; the transitions in it, by stream."""
    progress = Progress("replay", "signals")
    found: defaultdict[str, list[Transition]] = defaultdict(list)
    signals = 0
    for step in replay.steps():
        signals += step.signals
        for transition in step.transitions:
            progress.close()
            print_transition(transition, json=json)
        found[step.stream] += step.transitions
        if store is not None and step.transitions:
            store.add(step.transitions, replay, step.stream)
        progress.update(signals, step.part)
    progress.close()
    if store is not None:
        store.flush()
    say(f"replayed {signals:,} signals for the ticks from {to_iso(from_us)} to {to_iso(to_us)}")
    return found


def _is_alike(
    engine: Engine,
    settings: Settings,
    replay: HistoryReplay,
    stream: str,
    found: list[Transition],
    scorer: Scorer | None,
) -> bool:
    """Print one stream's digest beside live's; False where they differ and should not."""
    from alerts import replays
    from alerts.retention import Retention
    from alerts.store import transaction
    from pipeline.runtime.comparison import compare

    from_us, to_us = replay.range_of(stream)
    if to_us < replay.to_us:
        upto = f"at {to_iso(to_us)}" if to_us > from_us else "before --from"
        say(f"{stream}: history ends {upto}: no later tick has closed yet")
    with transaction(engine) as connection:
        live = replays.stored_transitions(connection, stream, from_us, to_us)
    if scorer is not None:
        name = f"rescored with {scorer.version}"
        say(f"{stream}: {name} {digest(found)[:16]}, live {digest(live)[:16]}: other scores, not compared")
        return True
    kept_since_us = now_us() - Retention.of(settings).history_us
    compared = compare(found, live, kept_since_us=kept_since_us)
    said = {
        "equal": "equal",
        "kept": "equal in what the database still holds of it (history_days)",
        "different": f"DIFFERENT ({len(found)} steps, live has {len(live)})",
    }[compared.verdict]
    say(f"{stream}: replay {compared.replayed[:16]}, live {compared.live[:16]}: {said}")
    return compared.verdict != "different"


def _streams(past: Past, stream: str | None) -> list[str]:
    names = past.streams()
    if not names:
        raise UsageError("there is no history yet")
    if stream is not None and stream not in names:
        raise UsageError(f"there is no history of stream {stream!r}; there is {', '.join(names)}")
    return [stream] if stream else names


def _scorer(settings: Settings, model: str) -> Scorer:
    """A scorer for `--rescore MODEL`: an engine's name, or a classifier."""
    from pipeline.runtime.classifier import loader
    from pipeline.scoring.scorer import Scorer
    from pipeline.stream_file import load as load_streams

    folder = settings.model
    if model in _ENGINES:
        settings = settings.model_copy(update={"engine": model})
    else:
        folder = classifier_folder(model)
    chosen = loader(settings, load_streams(settings.streams).topics)(folder)
    return Scorer(chosen, cache_entries=settings.cache_entries, batch_tokens=settings.batch_tokens)


def _check_run(run: str) -> None:
    from alerts.routing import LIVE_RUN

    if run == LIVE_RUN:
        raise UsageError("--into live: a replay never writes into the live run; name another")
    if not _RUN.fullmatch(run):
        raise UsageError(f"--into {run!r}: a run is named with letters, digits, '.', '-' and '_'")
