"""What replays have to do with the database: the transitions of live that they are held beside, and runs of their own.

Delivery: a replay's transitions are stored under its run; nobody is told of them unless that is asked for.
Idempotence: storing the same replay again changes nothing.
Raises: errors of the driver; wrap the transaction with `alerts.store.transaction`.
"""

from __future__ import annotations

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from alerts.routing import LIVE_RUN
from alerts.tables import alerts, runs, transitions
from pipeline.errors import ConfigurationError
from pipeline.records import Transition, decode

_REPLAY = "replay:"


def stored_transitions(connection: Connection, stream: str, from_us: int, to_us: int) -> list[Transition]:
    """Live's transitions of a stream whose ticks begin in `[from_us, to_us)`."""
    rows = connection.execute(
        select(transitions.c.encoded)
        .join(alerts, alerts.c.id == transitions.c.alert_id)
        .where(alerts.c.run == LIVE_RUN, alerts.c.kind == "surge", transitions.c.stream == stream)
    )
    found = [decode(bytes(row.encoded), Transition) for row in rows]
    return [t for t in found if from_us <= t.tick_us < to_us]


def claim_replay(connection: Connection, run: str, what: str) -> None:
    """Let a run hold the replay of `what`, now and for ever. Raises ConfigurationError when it holds another."""
    connection.execute(insert(runs).values(run=run, folder=_REPLAY + what).on_conflict_do_nothing())
    owner = str(connection.scalar(select(runs.c.folder).where(runs.c.run == run)))
    if owner != _REPLAY + what:
        held = owner.removeprefix(_REPLAY) if owner.startswith(_REPLAY) else "a pipeline's own alerts"
        raise ConfigurationError(f"the run {run!r} holds {held}, not {what}; name another one after --into")
