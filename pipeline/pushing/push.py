"""A push: runs of items into a sink, at a pace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from pipeline.pushing.batch import Batch, Run, Sink
from pipeline.pushing.pace import Pace

#: Largest number of items that are read at once, and of items and bytes that are sent at once.
RUN_ITEMS = 1_000
BATCH_ITEMS = 20_000
BATCH_BYTES = 4 * 2**20
#: Seconds that due items may wait for more to be sent with them.
GATHER_S = 0.1


class Push:
    """Sends items; `items` and `repeated` say what is in the raw log so far, `skipped` what was left out."""

    def __init__(self, sink: Sink, pace: Pace, *, skip: int = 0, batch_bytes: int = BATCH_BYTES) -> None:
        self._sink = sink
        self._pace = pace
        self._batch_bytes = batch_bytes
        self._to_skip = skip
        self._batch = Batch()
        self.skipped = 0
        self.items = 0
        self.repeated = 0

    @property
    def read(self) -> int:
        """Items that were read so far, sent or not."""
        return self.skipped + self.items + self._batch.items

    def run(self, runs: Iterable[Run], progress: Callable[[], None]) -> None:
        """Send them all. Raises what the files and the sink raise."""
        began_s = sent_s = time.monotonic()
        for run in runs:
            rest = self._not_skipped(run)
            if rest is None:
                continue
            after_s = self._pace.due_s(rest)
            due_s, now_s = began_s + after_s, time.monotonic()
            if due_s > now_s or (after_s and now_s - sent_s > GATHER_S):
                self._send()
                sent_s = now_s
            while (wait_s := due_s - time.monotonic()) > 0:
                progress()
                time.sleep(min(wait_s, 0.5))
            self._batch.add(rest)
            if self._batch.items >= BATCH_ITEMS or self._batch.size >= self._batch_bytes:
                self._send()
                sent_s = time.monotonic()
            progress()
        self._send()

    def _not_skipped(self, run: Run) -> Run | None:
        """What is left of a run; None for one that is skipped as a whole."""
        if not self._to_skip:
            return run
        skipped = min(self._to_skip, len(run.payloads))
        self._to_skip -= skipped
        self.skipped += skipped
        return run.without(skipped) if skipped < len(run.payloads) else None

    def _send(self) -> None:
        batch, self._batch = self._batch, Batch()
        if batch.runs:
            self.repeated += self._sink.send(batch)
            self.items += batch.items
