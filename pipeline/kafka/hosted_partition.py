"""A partition that a process has: what it has sent, what it has saved, and what it has to read again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.errors import LogLost, TocsinError
from pipeline.kafka.bucket_partition import BucketPartition
from pipeline.kafka.fold_partition import Unsaved
from pipeline.kafka.judge_partition import JudgePartition
from pipeline.kafka.step import Place
from pipeline.kafka.topics import MAX_MESSAGE_BYTES

#: Seconds between two attempts to read a partition again.
REWIND_S = 1.0
#: Attempts that find the same record missing before the whole topic is read, and after that nobody goes on.
ATTEMPTS = 3
#: Seconds after which a record that was fetched and never came counts as missing: when nothing of its topic is under
#: way, and in any case.
STUCK_S = (3.0, 60.0)
#: Largest row; the rest of the largest record is for what Kafka adds.
MOST_ROW_BYTES = MAX_MESSAGE_BYTES - 64 * 2**10


class Shell(Protocol):
    """What is needed of the app; `FaustApp` is one."""

    def rows(self, table: str, partition: int) -> list[bytes]:
        """Every row of a partition of a table."""

    async def send(self, topic: str, partition: int, key: bytes, value: bytes) -> asyncio.Future[object]:
        """Send a record; the future ends when Kafka has it."""

    async def write(self, table: str, partition: int, key: bytes, value: bytes) -> None:
        """Write a row; returns when Kafka has it."""

    def rewind(self, place: Place, position: int) -> None:
        """Read a partition again from `position`."""

    def fetched(self, place: Place) -> int | None:
        """The position of the reader; None while it changes."""


@dataclass(slots=True, eq=False)
class HostedPartition:
    """The folds of a partition and what is under way of them.

    `lock` is held while a record is folded and what it causes is handed to the producer, so that no row is made in
    between. `sent` are the outputs that Kafka has not confirmed.
    """

    place: Place
    table: str
    folds: BucketPartition | JudgePartition
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    sent: set[asyncio.Future[object]] = field(default_factory=set)
    saved_at: float = field(default_factory=time.monotonic)
    came_at: float = field(default_factory=time.monotonic)
    _saving: asyncio.Lock = field(default_factory=asyncio.Lock)
    _rewound_at: float = 0.0
    _missing_at: int = -1
    _attempts: int = 0

    async def save(
        self, shell: Shell, check: Callable[[], None], *, everything: bool = False
    ) -> tuple[list[Unsaved], float]:
        """Write the rows that have changed: outputs first, then the rows of folds that had none, then the others.

        The rows, and for how many seconds nothing else ran. `check` raises when an output was lost before.
        """
        async with self._saving:
            async with self.lock:
                self.saved_at = time.monotonic()
                rows = self.folds.unsaved(everything=everything)
                outputs = list(self.sent)
                stopped_s = time.monotonic() - self.saved_at
            if outputs:
                await asyncio.wait(outputs)
                for output in outputs:
                    output.result()
            check()
            for row in rows:
                self._check_size(row)
            for part in ([row for row in rows if row.first], [row for row in rows if not row.first]):
                writing = [shell.write(self.table, self.place.partition, row.key, row.value) for row in part]
                await asyncio.gather(*writing)
            self.folds.saved(rows)
        return rows, stopped_s

    def missing(self, fetched: int | None, quiet_since: float) -> str | None:
        """What has to be read again now, in words; None when nothing is missing, or somebody is at it.

        `quiet_since` is when the last record of the topic was done, infinity while one is under way.
        """
        now = time.monotonic()
        if fetched is None or now - self._rewound_at < REWIND_S or self.lock.locked():
            return None
        if self.folds.gap is not None:
            return str(self.folds.gap)
        if self.folds.jumped:
            return "a record did not follow"
        idle, busy = STUCK_S
        waits_since = max(self.came_at, self._rewound_at)
        stuck = now - max(waits_since, quiet_since) > idle or now - waits_since > busy
        return "a record never came" if fetched > self.folds.next and stuck else None

    def rewind(self) -> int:
        """From where to read again. Raises LogLost where that does not help any more."""
        if self.folds.gap is not None:
            self._attempts = self._attempts + 1 if self.folds.position == self._missing_at else 1
            self._missing_at = self.folds.position
            if self._attempts > ATTEMPTS:
                if not self.folds.rewind_to_start():
                    raise LogLost(
                        f"a record of {self.place.topic}/{self.place.partition} stays missing after it was read again "
                        f"from the start ({self.folds.gap}); nothing was skipped. Restore the topic, or replay the "
                        "streams into a new deployment (another TOCSIN_KAFKA_PREFIX)"
                    )
                self._attempts = 0
        self._rewound_at = time.monotonic()
        return self.folds.rewind()

    def _check_size(self, row: Unsaved) -> None:
        if len(row.value) > MOST_ROW_BYTES:
            raise TocsinError(
                f"the state of stream {row.name[0]} in partition {self.place.partition} of {self.table} has "
                f"{len(row.value):,} bytes, more than the {MOST_ROW_BYTES:,} that a record of Kafka may have here; "
                "replay the stream into a deployment with more buckets (TOCSIN_BUCKETS), or give it fewer members "
                "(max_members)"
            )
