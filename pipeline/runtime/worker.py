"""The worker: the thread that folds what the journals hold, from checkpoint to checkpoint.

Anything that may pass (a store that is away, a disk that is full, a gap) throws away what is in memory and
starts again from the last checkpoint, with one log line a change of state. What cannot pass (a damaged journal, a
classifier that does not load, a gap that is there again each time) stops the process with its error.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from pipeline.errors import JournalFull, RangeGap, StoreUnavailable
from pipeline.ingest.state import Counts
from pipeline.metrics import PartitionFacts, PipelineFacts
from pipeline.runtime.checkpoint import CheckpointStore, Position
from pipeline.runtime.pace import FIRST_ITEMS, next_items
from pipeline.runtime.partitions import Partitions
from pipeline.runtime.pipeline import Pipeline
from pipeline.scoring.scorer import Scorer
from pipeline.streams import Definition

log = structlog.get_logger()

#: Seconds before a worker that had to start again does so.
RESTART_S = 1.0
#: How often it starts again for one and the same gap.
GAP_RESTARTS = 3
#: Seconds that it sleeps at the longest when there is nothing to do.
IDLE_S = 1.0


class Worker(threading.Thread):
    """Folds the journals of `partitions`. `error` is what stopped it, if something did."""

    def __init__(
        self,
        definitions: Mapping[str, Definition],
        partitions: Partitions,
        *,
        run: str,
        buckets: int,
        scorer: Scorer,
        store: CheckpointStore,
        scores: Path,
        checkpoint_s: float,
        slice_items: int,
        stored: Callable[[], None],
    ) -> None:
        """`stored` is called after each checkpoint, on this thread."""
        super().__init__(name="worker", daemon=True)
        self._definitions = definitions
        self._partitions = partitions
        self._make: Callable[[], Pipeline] = lambda: Pipeline(
            definitions,
            run=run,
            buckets=buckets,
            scorer=scorer,
            store=store,
            scores=scores,
            checkpoint_s=checkpoint_s,
        )
        self._scorer = scorer
        self._stored_at = time.monotonic()
        self._cost_s = 0.0
        self._step_items = min(FIRST_ITEMS, slice_items)
        self._most_items = slice_items
        self._stored = stored
        self._news = threading.Event()
        self._stop_asked = threading.Event()
        self._positions: dict[str, Position] = {}
        self._done: dict[str, int] = {}  # the positions of the last checkpoint
        self._trouble = ""  # what it started again for, until it goes on
        self._pipeline: Pipeline | None = None
        self.error: BaseException | None = None
        for partition in partitions:
            partitions[partition].subscribe(self._news.set)

    def run(self) -> None:
        gap, times = "", 0
        while not self._stop_asked.is_set():
            try:
                self._fold_until_stopped()
                return
            except RangeGap as error:
                gap, times = str(error), times + 1 if str(error) == gap else 1
                if times > GAP_RESTARTS:
                    self._stopped(error)
                    return
                self._wait(error)
            except (StoreUnavailable, JournalFull, OSError) as error:
                self._wait(error)
            except BaseException as error:
                self._stopped(error)
                return

    @property
    def trouble(self) -> str:
        """What it waits for, or what stopped it, in one line; empty when all is well."""
        if self.error is not None:
            return f"stopped: {self.error}"
        pipeline = self._pipeline
        return self._trouble or ("" if pipeline is None else pipeline.trouble)

    def positions(self) -> dict[str, Position]:
        """Where the folds stand, by partition; may be a moment old."""
        return dict(self._positions)

    def stored_positions(self) -> dict[str, int]:
        """The positions of the last stored checkpoint, by partition: a restart reads on from there."""
        return dict(self._done)

    def behind(self) -> int:
        """Entries in the journals that are not folded yet."""
        return sum(one.entries_behind for one in self.facts().partitions)

    def stored(self) -> bool:
        """Whether everything that is folded is in the database as well."""
        return all(self._positions[p].position == done for p, done in self._done.items()) and bool(self._done)

    def facts(self) -> PipelineFacts:
        """What the metrics tell."""
        here = self.positions()
        partitions = []
        for name in self._partitions:
            journal, position = self._partitions[name], here.get(name)
            partitions.append(
                PartitionFacts(
                    partition=name,
                    accepted=journal.accepted,
                    entries_behind=journal.end - (journal.start if position is None else position.position),
                    counts=Counts() if position is None else position.counts,
                    watermark_us=None if position is None else position.watermark_us,
                )
            )
        return PipelineFacts(
            partitions=partitions,
            cache_hits=self._scorer.cache.hits,
            cache_misses=self._scorer.cache.misses,
            checkpoint_age_s=time.monotonic() - self._stored_at,
            checkpoint_cost_s=self._cost_s,
        )

    def stop(self, timeout_s: float) -> bool:
        """Finish the slice, store a last checkpoint, and end; whether it did within the time."""
        self._stop_asked.set()
        self._news.set()
        self.join(timeout_s)
        return not self.is_alive()

    def _fold_until_stopped(self) -> None:
        pipeline = self._pipeline = self._make()
        try:
            for partition in self._partitions:
                stream = self._partitions.stream_of(partition)
                pipeline.open(stream, partition, self._partitions.first_turn(partition))
                self._positions[partition] = pipeline.position(partition)
            self._done = self._here(pipeline)
            while not self._stop_asked.is_set():
                self._news.clear()
                if not self._round(pipeline):
                    self._checkpoint(pipeline, only_if_due=True)
                    if pipeline.due_in == math.inf:
                        self._goes_on()  # all is folded and stored
                    self._news.wait(min(IDLE_S, max(0.005, pipeline.due_in)))
            self._checkpoint(pipeline, only_if_due=False)
        finally:
            pipeline.close()

    def _round(self, pipeline: Pipeline) -> bool:
        """Fold one slice of each partition that has something; whether any had."""
        moved = False
        for partition in self._partitions:
            position = pipeline.position(partition).position
            records = self._partitions[partition].read(position, self._step_items)
            if records:
                began = time.monotonic()
                pipeline.fold(partition, records)
                self._step_items = next_items(
                    self._step_items, records[-1].end - position, time.monotonic() - began, self._most_items
                )
                self._positions[partition] = pipeline.position(partition)
                moved = True
                self._checkpoint(pipeline, only_if_due=True)
        return moved

    def _checkpoint(self, pipeline: Pipeline, *, only_if_due: bool) -> None:
        if only_if_due and not pipeline.due:
            return
        began = time.monotonic()
        if pipeline.checkpoint(self._stop_asked.is_set):
            self._goes_on()
            self._done = self._here(pipeline)
            self._stored_at = time.monotonic()
            self._cost_s = self._stored_at - began
            self._stored()

    def _here(self, pipeline: Pipeline) -> dict[str, int]:
        return {partition: pipeline.position(partition).position for partition in self._partitions}

    def _wait(self, error: Exception) -> None:
        if not self._trouble:
            log.warning("worker_waits", error=str(error))
        self._trouble = str(error) or type(error).__name__
        self._stop_asked.wait(RESTART_S)

    def _goes_on(self) -> None:
        if self._trouble:
            log.info("worker_goes_on")
        self._trouble = ""

    def _stopped(self, error: BaseException) -> None:
        self.error = error
        log.error("worker_stopped", error=str(error), kind=type(error).__name__)
