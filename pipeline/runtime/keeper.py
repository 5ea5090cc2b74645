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
from sqlalchemy import Engine, delete, select, update

from alerts import dispatcher, retention
from alerts.store import transaction
from alerts.system_alarm import SystemAlarm
from alerts.tables import dead_letters
from pipeline.clock import now_us
from pipeline.errors import StoreUnavailable
from pipeline.instants import DAY_US, SECOND_US, to_datetime, to_iso
from pipeline.journal.score_log import ScoreLog
from pipeline.runtime.checkpoint import Position
from pipeline.runtime.heartbeats import Idleness
from pipeline.runtime.intake import Intake
from pipeline.runtime.outages import OutageWatch
from pipeline.runtime.partitions import Partitions
from pipeline.runtime.stalls import StallWatch
from pipeline.servers.servers import Servers
from pipeline.streams import Definition

log = structlog.get_logger()

_BEAT_EVERY_S = 0.25
_LOOK_EVERY_S = 2.0
_PRUNE_EVERY_S = 3600.0
_OVER = {"clock_stalled": "clock_moves", "source_down": "source_up"}


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
        retention_days: float,
        history_days: float,
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
        self._retention_us = round(retention_days * DAY_US)
        # What raw items can still be folded into again must be there to compare it with.
        self._history_us = round(max(history_days, retention_days) * DAY_US)
        self._wake_deliveries = wake_deliveries
        self._stop_asked = threading.Event()
        self._stalls = {name: StallWatch(definition) for name, definition in definitions.items()}
        self._alarms: list[SystemAlarm] = []  # not stored yet: the store may be away
        began_s = time.monotonic()
        self._idle = {
            partition: Idleness(definition, busy_s=began_s)
            for definition in definitions.values()
            for partition in definition.clocks
        }
        self._outages = OutageWatch(frozenset(self._idle))
        self._failing: set[str] = set()
        self._ends = {partition: partitions[partition].end for partition in self._idle}

    def run(self) -> None:
        looked = pruned = time.monotonic()
        while not self._stop_asked.wait(_BEAT_EVERY_S):
            self._do("heartbeats", self._heartbeats)
            if time.monotonic() - looked >= _LOOK_EVERY_S:
                self._do("supervision", self._servers.supervise)
                self._do("stalls", self._look_for_stalls)
                self._do("outages", self._look_for_outages)
                self._do("alarms", self._store_alarms)
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
        now = now_us()
        positions = self._positions()
        for name, watch in self._stalls.items():
            clocks = self._definitions[name].clocks
            for stall in watch.look(
                {p: positions[p].watermark_us for p in clocks if p in positions}, now, time.monotonic()
            ):
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
            self._alarms.append(alarm)

    def _store_alarms(self) -> None:
        while self._alarms:
            alarm = self._alarms[0]
            with transaction(self._engine) as connection:
                news = dispatcher.store_system_alarm(connection, alarm)
            del self._alarms[0]
            if news:
                if alarm.state == "resolved":
                    log.info(_OVER[alarm.what], partition=alarm.subject)
                self._wake_deliveries()

    def _retry_dead_letters(self) -> None:
        """Append dead letters that someone asked to retry; the key makes a repetition after a crash harmless."""
        d = dead_letters.c
        wanted = select(dead_letters).where(
            d.run == self._run_name,
            d.retry_requested_at.is_not(None),
            d.retried_at.is_(None),
            d.partition.in_(list(self._idle)),  # those of a source that is not configured wait until it is
        )
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted.order_by(d.id).limit(1000)).all()
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
                connection.execute(update(dead_letters).where(d.id == row.id).values(retried_at=to_datetime(now_us())))

    def _prune(self) -> None:
        """Retention: whole segments that are folded, stored and old, old dead letters, and what ended long ago."""
        now = now_us()
        before_us = now - self._retention_us
        for partition, position in self._stored().items():
            self._partitions[partition].prune(position, before_us)
            definition = self._definitions[self._partitions.stream_of(partition)]
            ScoreLog(self._scores / partition).prune(position, before_us / SECOND_US, keep_ids=definition.remember_ids)
        with transaction(self._engine) as connection:
            connection.execute(delete(dead_letters).where(dead_letters.c.received_at < to_datetime(before_us)))
        while retention.prune(self._engine, now - self._history_us):
            pass
