"""`tocsin replay --recorded`: what `up` has recorded, through the folds once more, beside what it found."""

from __future__ import annotations

from pipeline.cli.output import say
from pipeline.cli.transitions import print_transition
from pipeline.errors import TocsinError, UsageError


def replay_recorded_streams(stream: str | None, *, json: bool) -> None:
    """Replay what is recorded of one stream or all, and compare it with what live stored."""
    from sqlalchemy import select

    from alerts.routing import LIVE_RUN
    from alerts.store import transaction
    from alerts.tables import alerts, transitions
    from pipeline.cli.database import database
    from pipeline.detect.digest import digest
    from pipeline.records import Transition, decode
    from pipeline.runtime.checkpoint import CheckpointStore
    from pipeline.runtime.datafolder import DataFolder
    from pipeline.runtime.recorded import replay_recorded

    with database() as db:
        # As of one instant: a running `up` stores positions and transitions together.
        with transaction(db.engine.execution_options(isolation_level="REPEATABLE READ")) as connection:
            positions, _ = CheckpointStore(db.engine, LIVE_RUN).load(connection)
            of_live = select(transitions.c.encoded).join(alerts, alerts.c.id == transitions.c.alert_id)
            rows = connection.execute(of_live.where(alerts.c.run == LIVE_RUN, alerts.c.kind == "surge")).all()
        settings = db.settings
    stored = [decode(bytes(row.encoded), Transition) for row in rows]
    folder = DataFolder(settings.data)
    names = sorted({p.stream for p in positions.values()})
    if stream is not None and stream not in names:
        raise UsageError(f"nothing is recorded of stream {stream!r}; there is {', '.join(names) or 'nothing yet'}")
    if not names:
        say("nothing is recorded yet; `tocsin up` records")
    differ = False
    for name in [stream] if stream else names:
        here = {partition: p for partition, p in positions.items() if p.stream == name}
        again = []
        for transition in replay_recorded(folder.journal, folder.scores, here, run=LIVE_RUN, buckets=settings.buckets):
            again.append(transition)
            print_transition(transition, json=json)
        live = digest(t for t in stored if t.stream == name)
        differ = differ or digest(again) != live
        verdict = "equal" if digest(again) == live else "DIFFERENT"
        say(f"{name}: replay {digest(again)[:16]}, live {live[:16]}: {verdict}")
    if differ:
        raise TocsinError("replay and live differ; keep the data folder and report it")
