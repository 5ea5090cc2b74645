"""What is sent at once, and what it is sent to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from pipeline.records import Form


@dataclass(slots=True)
class Run:
    """Consecutive items of one sender and form, each with its id. `note` says why a broken one is.

    `time_us` is the event time by which they are due, None where the pace does not ask for it.
    """

    source: str
    form: Form
    payloads: list[bytes]
    ids: list[str]
    note: str = ""
    time_us: int | None = None

    @property
    def size(self) -> int:
        return sum(map(len, self.payloads))

    def without(self, count: int) -> Run:
        """The run without its first items."""
        return Run(self.source, self.form, self.payloads[count:], self.ids[count:], self.note, self.time_us)

    def joins(self, other: Run) -> bool:
        """Whether another one may be appended: a broken item stands alone, as its note is its own."""
        return not self.note and not other.note and (self.source, self.form) == (other.source, other.form)


@dataclass(slots=True)
class Batch:
    """Runs in their order."""

    runs: list[Run] = field(default_factory=list)
    items: int = 0
    size: int = 0

    def add(self, run: Run) -> None:
        self.items += len(run.payloads)
        self.size += run.size
        if self.runs and self.runs[-1].joins(run):
            self.runs[-1].payloads += run.payloads
            self.runs[-1].ids += run.ids
        else:
            self.runs.append(run)


class Sink(Protocol):
    """Where a push goes: one push source of one stream.

    Delivery: what `send` returned for is in the raw log, durable. When it raises, some runs of the batch may be.
    Ordering: the items of one sender keep their order.
    Idempotence: a batch that is sent again under the same ids counts once, while the ids are remembered.
    Raises: TocsinError when it is refused, or when nothing answers for too long; what passes is waited for.
    """

    #: Where it goes, for people.
    where: str

    def send(self, batch: Batch) -> int:
        """Send items; how many of them are known to have been there already."""

    def heartbeat(self, time_us: int) -> None:
        """Say to every clock of the source that nothing before `time_us` is still to come."""
