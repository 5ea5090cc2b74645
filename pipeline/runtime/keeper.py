"""The keeper: the thread that does what is due by the time outside.

Heartbeats for idle sources, alarms for stalled clocks and sources that are down, dead letters that are to be
retried, retention, and the supervision of Tocsin's own servers. Nothing here is part of a fold; what folds must know
goes through the log. Durations are measured with a clock that nobody sets.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
from sqlalchemy import Engine

from alerts import dead_letters, retention
from alerts.pending_alarms import PendingAlarms
from alerts.retention import Retention
from alerts.store import transaction
from alerts.system_alarm import SystemAlarm
from pipeline.clock import now_us
from pipeline.instants import SECOND_US, to_iso
from pipeline.journal.score_log import ScoreLog
from pipeline.runtime.checkpoint import Position
from pipeline.runtime.duty import Duties
from pipeline.runtime.heartbeats import Idleness
from pipeline.runtime.intake import Intake
from pipeline.runtime.outages import OutageWatch
from pipeline.runtime.partitions import Partitions
from pipeline.runtime.stall_alarms import StallAlarms
from pipeline.servers.servers import Servers
from pipeline.streams import Definition

log = structlog.get_logger()

_BEAT_EVERY_S = 0.25
_LOOK_EVERY_S = 2.0
_PRUNE_EVERY_S = 3600.0


class Keeper(threading.Thread):
    """Does each of its duties on time, whatever happens to the others."""

    def __init__(
        self,
        definitions: Mapping[str, Definition],
        partitions: Partitions,
        intake: Intake,
        servers: Servers,
        engine: Engine,
        *,
        run: str,
        scores: Path,
        positions: Callable[[], Mapping[str, Position]],
        stored: Callable[[], Mapping[str, int]],
        kept: Retention,
        wake_deliveries: Callable[[], None],
    ) -> None:
        """`positions` says where the folds stand, `stored` where a restart goes on."""
        super().__init__(name="keeper", daemon=True)
        self._definitions = definitions
        self._partitions = partitions
        self._intake = intake
        self._servers = servers
        self._engine = engine
        self._run_name = run
        self._scores = scores
        self._positions = positions
        self._stored = stored
        self._kept = kept
        self._stop_asked = threading.Event()
        self._duties = Duties()
        self._stalls = StallAlarms(definitions, advice="look at its source")
        self._alarms = PendingAlarms(engine, stored=wake_deliveries)
        began_s = time.monotonic()
        self._idle = {
            partition: Idleness(definition, busy_s=began_s)
            for definition in definitions.values()
            for partition in definition.clocks
        }
        self._outages = OutageWatch(frozenset(self._idle))
        self._ends = {partition: partitions[partition].end for partition in self._idle}

    def run(self) -> None:
        looked = pruned = time.monotonic()
        while not self._stop_asked.wait(_BEAT_EVERY_S):
            self._duties.do("heartbeats", self._heartbeats)
            if time.monotonic() - looked >= _LOOK_EVERY_S:
                self._duties.do("supervision", self._servers.supervise)
                self._duties.do("stalls", self._look_for_stalls)
                self._duties.do("outages", self._look_for_outages)
                self._duties.do("alarms", self._alarms.store)
                self._duties.do("retries", self._retry_dead_letters)
                looked = time.monotonic()
            if time.monotonic() - pruned >= _PRUNE_EVERY_S:
                self._duties.do("retention", self._prune)
                pruned = time.monotonic()

    def stop(self, timeout_s: float) -> None:
        self._stop_asked.set()
        self.join(timeout_s)

    def _heartbeats(self) -> None:
        now, elapsed_s = now_us(), time.monotonic()
        for partition, idleness in self._idle.items():
            journal = self._partitions[partition]
            complete_us = self._intake.complete_until(partition, now)
            if journal.end != self._ends[partition] or complete_us is None:
                idleness.busy(elapsed_s)
                self._ends[partition] = journal.end
            time_us = idleness.due(elapsed_s, complete_us or now)
            if time_us is not None:
                _, self._ends[partition] = journal.append_control("heartbeat", received_us=now, time_us=time_us)

    def _look_for_stalls(self) -> None:
        watermarks = {name: position.watermark_us for name, position in self._positions().items()}
        self._alarms.add(self._stalls.look(watermarks, now_us(), time.monotonic()))

    def _look_for_outages(self) -> None:
        now = now_us()
        for outage in self._outages.look(self._intake.failing(), now, time.monotonic()):
            if not outage.over:
                log.warning("source_down", partition=outage.partition)
            alarm = SystemAlarm(
                what="source_down",
                stream=self._partitions.stream_of(outage.partition),
                subject=outage.partition,
                message=f"{outage.partition} can be read again"
                if outage.over
                else f"{outage.partition} cannot be read (since {to_iso(outage.since_us)}): nothing of it is lost as "
                "long as it keeps it; look at the source, and in the log for source_unavailable",
                since_us=outage.since_us,
                at_us=now,
                state="resolved" if outage.over else "opened",
            )
            self._alarms.add([alarm])

    def _retry_dead_letters(self) -> None:
        """Append dead letters that someone asked to retry; the key makes a repetition after a crash harmless."""
        with transaction(self._engine) as connection:
            rows = dead_letters.to_retry(connection, self._run_name, self._idle.keys())
        for row in rows:
            self._partitions[row.partition].append(
                payloads=[bytes(row.payload)],
                form=row.form,
                source=row.source,
                received_us=now_us(),
                ids=[row.item_id] if row.item_id else None,
                note=row.reason if row.form == "broken" else "",
                key=f"retry of dead letter {row.id} at {row.retry_requested_at.isoformat()}",
            )
            with transaction(self._engine) as connection:
                dead_letters.retried(connection, row, now_us())

    def _prune(self) -> None:
        """Retention: whole segments that are folded, stored and old, old dead letters, and what ended long ago."""
        now = now_us()
        before_us = now - self._kept.raw_us
        for partition, position in self._stored().items():
            self._partitions[partition].prune(position, before_us)
            definition = self._definitions[self._partitions.stream_of(partition)]
            ScoreLog(self._scores / partition).prune(position, before_us / SECOND_US, keep_ids=definition.remember_ids)
        retention.apply(self._engine, self._kept, now)
