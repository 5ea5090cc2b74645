"""Checkpoints: how far the local runtime has come, in one Postgres transaction.

Delivery: positions, fold states, dead letters, surges and their deliveries are stored together or not at all, so
a restart goes on exactly where the last checkpoint was.
Ordering: checkpoints of one run are saved in order, by the one process that holds the data folder.
Idempotence: saving the same checkpoint again changes nothing, so a commit whose answer was lost is repeated.
Raises: StoreUnavailable.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field

import xxhash
from sqlalchemy import Connection, Engine, delete, select
from sqlalchemy.dialects.postgresql import insert

from alerts import dead_letters, dispatcher
from alerts.store import transaction
from alerts.tables import fold_states, positions
from pipeline.ingest.state import Counts
from pipeline.records import DeadLetter, LostItem, Transition


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far one raw partition is folded, what became of its items, and up to where its scores are recorded."""

    stream: str
    partition: str
    position: int = 0
    counts: Counts = field(default_factory=Counts)
    watermark_us: int | None = None
    score_mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Everything that one transaction stores. `states` holds every live fold state by name."""

    positions: list[Position]
    states: Mapping[str, bytes]
    dead: list[tuple[str, str, DeadLetter]]  # stream, partition, dead letter
    transitions: list[Transition]


class CheckpointStore:
    """The checkpoints of one run. Keeps in memory which states are stored, and writes those that changed."""

    def __init__(self, engine: Engine, run: str, *, deliver: bool | None = None) -> None:
        self._engine = engine
        self._run = run
        self._deliver = deliver
        self._stored: dict[str, int] = {}

    def load(self, connection: Connection | None = None) -> tuple[dict[str, Position], dict[str, bytes]]:
        """The last checkpoint: positions by partition, and fold states by name; in a transaction of the caller when
        it brings one, which must then see all of one instant."""
        with transaction(self._engine) if connection is None else nullcontext(connection) as connection:
            rows = connection.execute(select(positions).where(positions.c.run == self._run)).all()
            states = connection.execute(select(fold_states).where(fold_states.c.run == self._run)).all()
        found = {
            row.partition: Position(
                stream=row.stream,
                partition=row.partition,
                position=row.position,
                counts=Counts(row.counted, row.late, row.duplicates, row.dead),
                watermark_us=row.watermark_us,
                score_mark=f"{row.segment}:{row.segment_end}" if row.segment else "",
            )
            for row in rows
        }
        by_name = {row.name: bytes(row.state) for row in states}
        self._stored = {name: _fingerprint(state) for name, state in by_name.items()}
        return found, by_name

    def save(self, checkpoint: Checkpoint, now_us: int) -> None:
        """Store a checkpoint in one transaction."""
        fingerprints = {name: _fingerprint(state) for name, state in checkpoint.states.items()}
        changed = [
            {"run": self._run, "name": name, "state": state}
            for name, state in checkpoint.states.items()
            if self._stored.get(name) != fingerprints[name]
        ]
        gone = [name for name in self._stored if name not in fingerprints]
        with transaction(self._engine) as connection:
            if checkpoint.positions:
                rows = [self._row(position) for position in checkpoint.positions]
                statement = insert(positions).values(rows)
                keep = {c.name: statement.excluded[c.name] for c in positions.c if not c.primary_key}
                connection.execute(statement.on_conflict_do_update(index_elements=["run", "partition"], set_=keep))
            if changed:
                upsert = insert(fold_states)
                connection.execute(
                    upsert.on_conflict_do_update(index_elements=["run", "name"], set_={"state": upsert.excluded.state}),
                    changed,
                )
            if gone:
                connection.execute(
                    delete(fold_states).where(fold_states.c.run == self._run, fold_states.c.name.in_(gone))
                )
            dead_letters.store(connection, self._run, [LostItem(*one) for one in checkpoint.dead])
            dispatcher.store(connection, checkpoint.transitions, now_us, deliver=self._deliver)
        self._stored = fingerprints

    def _row(self, position: Position) -> dict[str, object]:
        segment, _, end = position.score_mark.partition(":")
        counts = position.counts
        return {
            "run": self._run,
            "stream": position.stream,
            "partition": position.partition,
            "position": position.position,
            "accepted": counts.items,
            "counted": counts.counted,
            "late": counts.late,
            "duplicates": counts.duplicates,
            "dead": counts.dead,
            "watermark_us": position.watermark_us,
            "segment": segment or None,
            "segment_end": int(end) if end else None,
        }


def _fingerprint(state: bytes) -> int:
    return xxhash.xxh3_64_intdigest(state)
