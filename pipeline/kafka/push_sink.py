"""A push straight into the raw topic of a push source."""

from __future__ import annotations

from pipeline.errors import BrokerUnavailable, JournalUnavailable, JournalUncertain
from pipeline.kafka import wire
from pipeline.kafka.journal import item_of, partitions_of
from pipeline.kafka.names import Names
from pipeline.kafka.raw_writer import RawWriter
from pipeline.kafka.step import Place
from pipeline.kafka.wire import Headers
from pipeline.pushing.batch import Batch
from pipeline.pushing.patience import Patience
from pipeline.sources.push import partition_for

#: Seconds that the first answer of Kafka is waited for.
FIRST_S = 15.0
_PAUSE_S = 0.5


class KafkaSink:
    """See Sink. A batch is one transaction for each raw partition that it goes to, as the push API chooses them."""

    def __init__(self, writer: RawWriter, names: Names, stream: str, into: str, patience: Patience) -> None:
        """Raises ConfigurationError where the topic is missing, BrokerUnavailable where Kafka does not answer."""
        self._topic = names.raw(stream, into)
        self.where = f"the topic {self._topic}"
        self._usual_source = into
        self._writer = writer
        self._patience = patience
        try:
            self._partitions = partitions_of(writer, names, self._topic, FIRST_S)
        except JournalUnavailable as error:
            raise BrokerUnavailable(f"{error}; start it, or look at TOCSIN_KAFKA") from None

    def send(self, batch: Batch) -> int:
        messages: dict[int, list[tuple[bytes, Headers | None]]] = {}
        for run in batch.runs:
            there = messages.setdefault(partition_for(self._partitions, sender=run.source, key=None), [])
            for payload, id in zip(run.payloads, run.ids, strict=True):
                there.append(
                    item_of(
                        payload, form=run.form, source=run.source, usual_source=self._usual_source, id=id, note=run.note
                    )
                )
        for partition, ours in messages.items():
            self._write(partition, ours)
        return 0

    def heartbeat(self, time_us: int) -> None:
        for partition in range(self._partitions):
            self._write(partition, [wire.heartbeat(time_us)])

    def _write(self, partition: int, messages: list[tuple[bytes, Headers | None]]) -> None:
        while True:
            try:
                self._writer.write(Place(self._topic, partition), messages)
                self._patience.over()
                return
            except (JournalUnavailable, JournalUncertain) as error:  # once more: the same ids count once
                self._patience.wait(str(error), _PAUSE_S)
