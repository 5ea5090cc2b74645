"""One transaction that writes to raw topics, for all who wait to write."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.errors import JournalError, JournalUncertain, TocsinError
from pipeline.kafka.client import EPOCH_OVER, passes
from pipeline.kafka.step import Place
from pipeline.kafka.wire import Headers

#: Seconds in which a transaction's messages must be with the broker; else it is given up and nothing was written.
WRITE_S = 8.0
#: Seconds that its commit may take after that, before those who wait are told that nobody knows.
COMMIT_S = 5.0
#: Seconds after which a commit that never ends is left to the next producer, which ends it one way or the other.
RESOLVE_S = 30.0
#: Seconds that one call to the broker may take.
CALL_S = 2.0
#: Seconds that a commit's marks may take while the broker stands; then it is somebody else's transaction, open in the
#: same partition, that holds readers back.
MARK_S = 1.0
_PAUSE_S = 0.002

# What becomes of messages that were still with the client.
_GIVEN_UP = frozenset((KafkaError._MSG_TIMED_OUT, KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT))

Written = Callable[[int, int], None]
#: Up to where readers of committed records get some partitions (Cluster.stable_ends). Raises TocsinError.
StableEnds = Callable[[Iterable[Place]], Mapping[Place, int]]


class RawWrite:
    """Messages that wait for their place, and the thread that waits with them."""

    __slots__ = ("alone", "done", "error", "first", "last", "messages", "outcome", "place", "size", "written")

    def __init__(self, place: Place, messages: Sequence[tuple[bytes, Headers | None]], written: Written | None) -> None:
        self.place = place
        self.messages = messages
        self.written = written
        self.size = sum([len(value) for value, _ in messages])
        self.alone = False  # to be written in a transaction of its own
        self.first = self.last = -1
        self.error: KafkaError | None = None
        self.done = threading.Event()
        self.outcome: tuple[int, int] | JournalError | None = None

    def reported(self, error: KafkaError | None, message: Message) -> None:
        """A message has come to lie somewhere, or was refused. It is called for each, in order."""
        if error is not None:
            self.error = self.error or error
            return
        self.last = message.offset() or 0
        if self.first < 0:
            self.first = self.last

    def settle(self) -> None:
        """It is committed."""
        place = (self.first, self.last + 1)
        if self.written is not None:
            self.written(*place)
        self.answer(place)

    def answer(self, outcome: tuple[int, int] | JournalError) -> None:
        """What the one who waits gets; the first answer holds."""
        if self.outcome is None:
            self.outcome = outcome
            self.done.set()


class NotWritten(Exception):
    """Nothing was written, and nothing will be; `passing` when that is because the broker is away, or another producer
    has taken over."""

    def __init__(self, error: KafkaError | str) -> None:
        self.error = error
        self.passing = isinstance(error, str) or passes(error) or error.code() in _GIVEN_UP | EPOCH_OVER
        super().__init__(str(error))


class Unresolved(Exception):
    """What became of the transaction is not known, and will not be; who waits has been told so."""


class RawTransaction:
    """Writes all of a batch or nothing, with a producer that is of no further use after an error."""

    def __init__(self, producer: Producer, batch: Sequence[RawWrite], stable_ends: StableEnds) -> None:
        self._producer = producer
        self._stable_ends = stable_ends
        self._batch = batch
        self._began_s = time.monotonic()
        #: When the process wants to end.
        self.close_by_s: Callable[[], float] = lambda: math.inf

    @property
    def took_s(self) -> float:
        return time.monotonic() - self._began_s

    def send(self) -> None:
        """Bring every message to the broker. Raises NotWritten."""
        try:
            for write in self._batch:
                self._produce(write)
            while (left_s := self._left_s(WRITE_S)) > 0:
                if self._producer.flush(min(left_s, 0.05)) == 0:
                    return
                if any(write.error is not None for write in self._batch):
                    break  # what comes after it waits in vain
        except KafkaException as exception:
            raise NotWritten(self._refusal() or exception.args[0]) from exception
        raise NotWritten(self._refusal() or f"Kafka did not take it within {WRITE_S:.0f} s")

    def commit(self, open_because: Callable[[KafkaError | str], None]) -> None:
        """Commit, and settle each write once it is marked as committed. Raises NotWritten, Unresolved.

        Until the first try the transaction can be given up for certain. From then on only the broker knows. A try
        that did not end is repeated, which does no harm, and told to `open_because`; those who wait learn after a
        while that it is open.
        """
        tried = False
        while True:
            try:
                self._producer.commit_transaction(CALL_S)
                break
            except KafkaException as exception:
                error = exception.args[0]
                if error.txn_requires_abort() and not tried:
                    raise NotWritten(self._refusal() or error) from exception
                ended = not error.retriable() or error.txn_requires_abort()
                tried = True
                open_because(error)
                self._stays_open(for_good=ended)
        self._wait_for_marks(open_because)
        for write in self._batch:
            write.settle()

    def _wait_for_marks(self, open_because: Callable[[KafkaError | str], None]) -> None:
        """Wait until readers of committed records get past what was written. Raises Unresolved.

        Kafka confirms a commit first and marks the partitions as committed then. A broker that dies in between does so
        when it is back, but not where a partition has no leader at that moment (KAFKA-20734; seen in Kafka 4.3.1): that
        one stays open, and the next transaction of this producer there takes it along, whichever way that ends.
        """
        ends = {write.place: write.last + 1 for write in self._batch}  # of writes to one place the last is furthest
        began_s, stood = time.monotonic(), True
        while True:
            try:
                stable = self._stable_ends(ends)
                if all(stable[place] >= end for place, end in ends.items()):
                    return
                if stood and time.monotonic() > began_s + MARK_S:
                    return
            except TocsinError as error:
                stood = False
                open_because(str(error))
            self._stays_open()
            time.sleep(_PAUSE_S)

    def _stays_open(self, *, for_good: bool = False) -> None:
        """Tell those who wait, when it is time, that nobody knows. Raises Unresolved, when it is time for that."""
        if for_good or self._left_s(WRITE_S + COMMIT_S) <= 0:
            for write in self._batch:
                write.answer(JournalUncertain())
            if for_good or self.close_by_s() < math.inf or self._left_s(RESOLVE_S) <= 0:
                raise Unresolved

    def _produce(self, write: RawWrite) -> None:
        topic, partition = write.place
        for value, headers in write.messages:
            extra: dict[str, Any] = {"headers": headers} if headers else {}
            while True:
                try:
                    self._producer.produce(topic, value, partition=partition, on_delivery=write.reported, **extra)
                    break
                except BufferError:  # the client holds as much as it may: let it send
                    if self._left_s(WRITE_S) <= 0:
                        raise NotWritten("Kafka is too slow") from None
                    self._producer.poll(0.05)

    def _refusal(self) -> KafkaError | None:
        """Why the first message that was refused was."""
        return next((write.error for write in self._batch if write.error is not None), None)

    def _left_s(self, limit_s: float) -> float:
        return min(self._began_s + limit_s, self.close_by_s()) - time.monotonic()
