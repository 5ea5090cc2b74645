"""The contract between a transaction and what is done in it. Pure: no client is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

from pipeline.kafka.wire import Message


class Place(NamedTuple):
    """One partition of one topic that is read."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """A partition as it was found when it was assigned.

    `committed` is the position that the group committed last, None when there is none, and `metadata` what was
    committed with it. `low` and `high` are the first offset that the log holds and the one after its last.
    """

    place: Place
    topic_id: str
    committed: int | None
    metadata: str
    low: int
    high: int


class Output(NamedTuple):
    """A record to write. `stored` is called with its offset before the transaction commits."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    stored: Callable[[int], None] | None = None


@dataclass(slots=True)
class Done:
    """What one transaction writes, and which positions it commits, each with its metadata."""

    outputs: list[Output] = field(default_factory=list)
    commits: dict[Place, tuple[int, str]] = field(default_factory=dict)


T = TypeVar("T")


class Step(Protocol[T]):
    """What a read-process-write worker does with what it reads.

    Delivery: `finish` is called once for what a transaction read; when that aborts, every partition is `assigned`
    anew at its committed position, and its messages come again.
    Ordering: the messages of a place come in the order of their offsets, from the position that `assigned` returned.
    Idempotence: none needed; what a transaction wrote and committed is there once, or not at all.
    Raises: `assigned` raises LogLost where the position and the log do not belong together.
    """

    @property
    def subscription(self) -> str:
        """The topic that is read, or a pattern that begins with ^."""

    @property
    def most_messages(self) -> int:
        """How many messages one transaction takes at the most."""

    def assigned(self, found: Assigned) -> int | None:
        """Take a partition over; the position to read from, None to be asked again later."""

    def revoked(self, place: Place) -> None:
        """Another worker has it now, or the transaction aborted: forget what is in memory of it."""

    def prepare(self, messages: Mapping[Place, Sequence[Message]]) -> Mapping[Place, T]:
        """The heavy part, on a thread of its own while more is read; must not depend on what is in memory of a
        place."""

    def finish(self, prepared: Mapping[Place, T]) -> Done:
        """The rest, for the places that are still this worker's."""

    def at_end(self, place: Place) -> None:
        """Everything that there was in this partition has been read."""

    def idle(self) -> None:
        """Called several times a second, whatever comes."""
