"""The raw partitions of a push source as journals: what the push API writes to on Kafka."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pipeline.errors import ConfigurationError
from pipeline.ingest.item import MAX_ITEM_BYTES
from pipeline.journal.memory import body_digest
from pipeline.kafka import wire
from pipeline.kafka.metrics import WorkerMetrics
from pipeline.kafka.names import Names
from pipeline.kafka.push_keys import KeyPlace, PushKeys
from pipeline.kafka.raw_writer import RawWriter
from pipeline.kafka.step import Place
from pipeline.records import Form
from pipeline.sources.framing import BROKEN_BYTES


class KafkaJournal:
    """One partition of a raw topic. Safe for any number of threads.

    Delivery: what an append returned for is committed. An append that raised is not in the log, but for
    JournalUncertain, which may be there or come to be; all of it or nothing, as every reader sees it.
    Ordering: the items of one append keep their order. Others may lie between them, and offsets may be left out: so
    `end - start` may be more than there are items.
    Idempotence: an append with a key that this process remembers returns the range that the key had and appends
    nothing. Another process, or this one after a restart, appends it again under the same ids, and ingest takes
    what it has seen among the last `remember_ids` of this partition for duplicates. So nothing counts twice either way;
    but a key with another body is refused only by the process that remembers it, else its items are duplicates.
    Raises: JournalUnavailable while Kafka is away, JournalUncertain, KeyReused, JournalError otherwise.
    """

    def __init__(
        self, writer: RawWriter, names: Names, topic: str, number: int, *, keys: PushKeys, metrics: WorkerMetrics
    ) -> None:
        self.partition = names.clock(topic, number)
        self._place = Place(topic, number)
        self._usual_source = names.source_of(topic)[1]
        self._writer = writer
        self._keys = keys
        self._accepted = metrics.items.labels(self.partition, "accepted")
        self._end = 0

    @property
    def end(self) -> int:
        """The offset after the last entry that this process has written; all that it writes comes after."""
        return self._end

    def append(
        self,
        *,
        payloads: Sequence[bytes],
        form: Form,
        source: str,
        received_us: int,
        ids: Sequence[str] | None = None,
        key: str | None = None,
        note: str = "",
    ) -> tuple[int, int]:
        """Append items, at least one; the offset of the first, and that after the last.

        `received_us` is not used: the broker says when it received them. An item longer than ingest takes becomes a
        broken one, with its beginning.
        """
        if ids is not None and len(ids) != len(payloads):
            raise ValueError(f"{len(ids)} ids for {len(payloads)} payloads")
        messages = [
            item_of(
                payload,
                form=form,
                source=source,
                usual_source=self._usual_source,
                id=ids[number] if ids else "",
                note=note,
            )
            for number, payload in enumerate(payloads)
        ]
        if key is None:
            return self._write(messages, None, b"")
        place, digest = KeyPlace(self.partition, key), body_digest(form, payloads)
        with self._keys.claimed(place, digest) as known:
            return known or self._write(messages, place, digest)

    def append_control(self, kind: Literal["heartbeat"], *, received_us: int, time_us: int = 0) -> tuple[int, int]:
        """Append a heartbeat; its offset, and that after it."""
        return self._writer.write(self._place, [wire.heartbeat(time_us)], self._written)

    def _write(
        self, messages: list[tuple[bytes, wire.Headers | None]], key: KeyPlace | None, digest: bytes
    ) -> tuple[int, int]:
        def written(start: int, end: int) -> None:
            self._accepted.inc(len(messages))
            self._written(start, end)
            if key is not None:
                self._keys.remember(key, start, end, digest)

        return self._writer.write(self._place, messages, written)

    def _written(self, start: int, end: int) -> None:
        self._end = max(self._end, end)


def item_of(
    payload: bytes, *, form: Form, source: str, usual_source: str, id: str, note: str
) -> tuple[bytes, wire.Headers | None]:
    """An item as a message. One that is longer than ingest takes is a broken one, with its beginning."""
    if len(payload) > MAX_ITEM_BYTES:
        note = f"{len(payload)} bytes long, more than {MAX_ITEM_BYTES}"
        payload, form = payload[:BROKEN_BYTES], "broken"
    return wire.item_message(payload, form=form, source=source, usual_source=usual_source, id=id, note=note)


def partitions_of(writer: RawWriter, names: Names, topic: str, timeout_s: float = 0.0) -> int:
    """How many partitions a raw topic has; waits so long for Kafka's first answer.

    Raises JournalUnavailable, and ConfigurationError where there is no such topic or it is not as configured.
    """
    found = writer.partitions(topic, timeout_s)
    if found != names.raw_partitions:
        raise ConfigurationError(
            f"the topic {topic} has {found} partitions where TOCSIN_KAFKA_RAW_PARTITIONS is {names.raw_partitions}; "
            "set it to what all raw topics have"
        )
    return found


def journals_of(
    writer: RawWriter, names: Names, topic: str, partitions: int, *, keys: PushKeys, metrics: WorkerMetrics
) -> list[KafkaJournal]:
    """The journals of a source: one for each partition of its raw topic."""
    return [KafkaJournal(writer, names, topic, number, keys=keys, metrics=metrics) for number in range(partitions)]
