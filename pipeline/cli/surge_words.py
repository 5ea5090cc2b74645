"""`tocsin alerts ID --words`: what a surge's texts say that its key did not say before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pipeline.cli.database import Database
from pipeline.cli.progress import Progress
from pipeline.errors import ConfigurationError, NotFound

if TYPE_CHECKING:
    from pipeline.records import ScoreSlice, Transition
    from pipeline.streams import Definition

#: How recorded slices are read, and the definition that they call by a name.
Record = tuple[Callable[[], Iterator["ScoreSlice"]], Callable[[str], "Definition"]]


def words_of(db: Database, id: str) -> dict[str, Any]:
    """The words of a surge as JSON shows them. Raises NotFound for an alarm of the pipeline; see `Past` and
    `recorded_slices` for what reading raises."""
    from pipeline.detect.surge_words import surge_words

    transition = _last_transition(db, id)
    slices, definition_of = _record(db, transition)
    progress = Progress("words", "signals")

    def counted() -> Iterator[ScoreSlice]:
        done = 0
        for scored in slices():
            done += len(scored.slice.signals)
            progress.update(done, None)
            yield scored

    try:
        found = surge_words(transition, definition_of, counted)
    finally:
        progress.close()
    return {
        "words": [word._asdict() for word in found.words],
        "signals": {"here": found.here, "baseline": found.baseline},
    }


def _last_transition(db: Database, id: str) -> Transition:
    from sqlalchemy import select

    from alerts.store import transaction
    from alerts.tables import transitions
    from pipeline.records import Transition, decode

    of_alert = select(transitions).where(transitions.c.alert_id == id).order_by(transitions.c.sequence.desc()).limit(1)
    with transaction(db.engine) as connection:
        row = connection.execute(of_alert).first()
    if row is None or row.tick is None:
        raise NotFound(f"alert {id} has no words: it is an alarm of the pipeline, not a surge; leave --words out")
    return decode(bytes(row.encoded), Transition)


def _record(db: Database, transition: Transition) -> Record:
    """What is recorded of the transition's stream."""
    settings, stream = db.settings, transition.stream
    if db.folder is None:
        from pipeline.kafka.past import Past

        past = Past(settings)
        return lambda: past.slices(stream), lambda name: past.definition(stream, name)
    from alerts.routing import LIVE_RUN
    from pipeline.runtime.checkpoint import CheckpointStore
    from pipeline.runtime.recorded import recorded_slices
    from pipeline.stream_file import load

    definition = load(settings.streams).streams.get(stream)
    if definition is None or definition.version != transition.definition:
        raise ConfigurationError(
            f"the surge was found under another definition of stream {stream} than the configured one; name the stream "
            "file of then with TOCSIN_STREAMS"
        )
    positions, _ = CheckpointStore(db.engine, LIVE_RUN).load()
    here = {partition: position for partition, position in positions.items() if position.stream == stream}
    scores = db.folder.scores
    return lambda: recorded_slices(scores, here), lambda _: definition
