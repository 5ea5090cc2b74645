"""The keeper: the thread that does what is due by the wall clock.

Heartbeats for idle sources, alarms for stalled clocks, dead letters that are to be retried, retention, and the
supervision of Tocsin's own servers. Nothing here is part of a fold; what folds must know goes through the log.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
from sqlalchemy import Engine, delete, select, update

from alerts import dispatcher
from alerts.store import transaction
from alerts.system_alarm import SystemAlarm
from alerts.tables import dead_letters
from pipeline.clock import now_us
from pipeline.errors import StoreUnavailable
from pipeline.instants import DAY_US, SECOND_US, to_datetime, to_iso
from pipeline.runtime.checkpoint import Position
from pipeline.runtime.heartbeats import Idleness
from pipeline.runtime.intake import Intake
from pipeline.runtime.partitions import Partitions
from pipeline.runtime.score_log import ScoreLog
from pipeline.runtime.servers import Servers
from pipeline.runtime.stalls import StallWatch
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
        retention_days: float,
        wake_deliveries: Callable[[], None],
    ) -> None:
        super().__init__(name="keeper", daemon=True)
        self._definitions = definitions
        self._partitions = partitions
        self._intake = intake
        self._servers = servers
        self._engine = engine
        self._run_name = run
        self._scores = scores
        self._positions = positions
        self._retention_us = round(retention_days * DAY_US)
        self._wake_deliveries = wake_deliveries
        self._stop_asked = threading.Event()
        self._stalls = {name: StallWatch(definition) for name, definition in definitions.items()}
        self._alarms: list[SystemAlarm] = []  # not stored yet: the store may be away
        began_us = now_us()
        self._idle = {
            partition: Idleness(definition, busy_us=began_us)
            for definition in definitions.values()
            for partition in definition.clocks
        }
        self._failing: set[str] = set()
        self._ends = {partition: partitions[partition].end for partition in self._idle}

    def run(self) -> None:
        looked = pruned = time.monotonic()
        while not self._stop_asked.wait(_BEAT_EVERY_S):
            self._do("heartbeats", self._heartbeats)
            if time.monotonic() - looked >= _LOOK_EVERY_S:
                self._do("supervision", self._servers.supervise)
                self._do("stalls", self._look_for_stalls)
                self._do("retries", self._retry_dead_letters)
                looked = time.monotonic()
            if time.monotonic() - pruned >= _PRUNE_EVERY_S:
                self._do("retention", self._prune)
                pruned = time.monotonic()

    def stop(self, timeout_s: float) -> None:
        self._stop_asked.set()
        self.join(timeout_s)

    def _do(self, duty: str, work: Callable[[], None]) -> None:
        try:
            work()
        except StoreUnavailable:
            pass  # the worker and the deliveries say so; this duty is done again soon
        except Exception as error:  # whatever it was, the other duties must go on: without heartbeats all stands still
            if duty not in self._failing:
                self._failing.add(duty)
                log.warning("keeper_duty_failed", duty=duty, kind=type(error).__name__, error=str(error))
        else:
            if duty in self._failing:
                self._failing.discard(duty)
                log.info("keeper_duty_works", duty=duty)

    def _heartbeats(self) -> None:
        now = now_us()
        for partition, idleness in self._idle.items():
            journal = self._partitions[partition]
            complete_us = self._intake.complete_until(partition, now)
            if journal.end != self._ends[partition] or complete_us is None:
                idleness.busy(now)
                self._ends[partition] = journal.end
            time_us = idleness.due(now, complete_us or now)
            if time_us is not None:
                _, self._ends[partition] = journal.append_control("heartbeat", received_us=now, time_us=time_us)

    def _look_for_stalls(self) -> None:
        now = now_us()
        positions = self._positions()
        for name, watch in self._stalls.items():
            clocks = self._definitions[name].clocks
            for stall in watch.look({p: positions[p].watermark_us for p in clocks if p in positions}, now):
                if not stall.over:
                    log.warning("clock_stalled", partition=stall.partition)
                minutes = self._definitions[name].stall_after_us / (60 * SECOND_US)
                alarm = SystemAlarm(
                    what="clock_stalled",
                    stream=name,
                    subject=stall.partition,
                    message=f"{stall.partition} goes on"
                    if stall.over
                    else f"nothing from {stall.partition} for {minutes:g} minutes (since {to_iso(stall.since_us)}): "
                    f"no tick of {name} closes until it goes on; look at its source",
                    since_us=stall.since_us,
                    at_us=now,
                    state="resolved" if stall.over else "opened",
                )
                self._alarms.append(alarm)
        while self._alarms:
            alarm = self._alarms[0]
            with transaction(self._engine) as connection:
                news = dispatcher.store_system_alarm(connection, alarm)
            del self._alarms[0]
            if news:
                if alarm.state == "resolved":
                    log.info("clock_moves", partition=alarm.subject)
                self._wake_deliveries()

    def _retry_dead_letters(self) -> None:
        """Append dead letters that someone asked to retry; the key makes a repetition after a crash harmless."""
        d = dead_letters.c
        wanted = select(dead_letters).where(
            d.run == self._run_name, d.retry_requested_at.is_not(None), d.retried_at.is_(None)
        )
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted.order_by(d.id).limit(1000)).all()
        for row in rows:
            if row.partition not in self._idle:
                continue  # its source is not configured; it waits until it is
            self._partitions[row.partition].append(
                payloads=[bytes(row.payload)],
                form=row.form,
                source=row.source,
                received_us=now_us(),
                ids=[row.item_id] if row.item_id else None,
                key=f"retry of dead letter {row.id} at {row.retry_requested_at.isoformat()}",
            )
            with transaction(self._engine) as connection:
                connection.execute(update(dead_letters).where(d.id == row.id).values(retried_at=to_datetime(now_us())))

    def _prune(self) -> None:
        """Retention: whole segments that are folded and old, and old dead letters."""
        before_us = now_us() - self._retention_us
        for partition, position in self._positions().items():
            self._partitions[partition].prune(position.position, before_us)
            ScoreLog(self._scores / partition).prune(position.position, before_us / SECOND_US)
        with transaction(self._engine) as connection:
            connection.execute(delete(dead_letters).where(dead_letters.c.received_at < to_datetime(before_us)))
