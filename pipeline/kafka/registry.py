"""The registry: a compacted topic that remembers what must outlive the raw log.

Under `turn/STREAM/NUMBER` each definition that was ever in force, and under `clock/CLOCK` that a clock has begun,
and in which topic. Turns are written before the control records that name them; a clock's entry is written in the
transaction that takes in its first records. So who reads a name that is not here yet reads once more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

from pipeline import streams
from pipeline.errors import BrokerUnavailable, LogLost, TocsinError
from pipeline.kafka.client import CALL_S, connection, kafka_errors, producer_config, translated
from pipeline.kafka.names import Names
from pipeline.kafka.readback import end_of
from pipeline.settings import Settings
from pipeline.streams import Definition, Turn

#: Seconds that the open transaction of a worker that died may hide what was written after it, and a look at it.
_HIDDEN_S, _LOOK_S = 30.0, 0.2


class Registry:
    """What the registry holds, as of the last `read`. Safe from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = Names.of(settings).registry
        self._lock = threading.Lock()
        self._turns: dict[str, dict[int, Turn]] = {}
        self._clocks: dict[str, str] = {}
        self._position = OFFSET_BEGINNING

    def read(self) -> None:
        """Read to the end. Raises BrokerUnavailable, ConfigurationError where the topic is missing."""
        config = connection(self._settings) | {
            "group.id": f"{self._topic}.readers",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,  # the last fetch finds nothing, and waits so long to say it
            "log_level": 0,  # what it would log is in the one error that is raised
        }
        with self._lock, kafka_errors(f"reading {self._topic}"):
            consumer = Consumer(config)
            try:
                consumer.assign([TopicPartition(self._topic, 0, self._position)])
                while True:
                    message = consumer.poll(CALL_S)
                    if message is None:
                        raise translated(KafkaError(KafkaError._TIMED_OUT), f"reading {self._topic}")
                    error = message.error()
                    if error is None:
                        self._take(message.key(), message.value())
                    elif error.code() == KafkaError._PARTITION_EOF:
                        self._position = message.offset() or 0
                        return
                    else:
                        raise translated(error, f"reading {self._topic}")
            finally:
                consumer.close()

    def read_whole(self) -> None:
        """Read what was written by now, also what an open transaction hides for some seconds. Raises as `read`."""
        with kafka_errors(f"reading {self._topic}"):
            end = end_of(self._settings, self._topic, 0)
        deadline_s = time.monotonic() + _HIDDEN_S
        while True:
            self.read()
            if self._position >= end:
                return
            if time.monotonic() > deadline_s:
                raise BrokerUnavailable(f"reading {self._topic}: an open transaction hides what lies before {end}")
            time.sleep(_LOOK_S)

    def streams(self) -> list[str]:
        """Every stream that was read, by name."""
        with self._lock:
            return sorted(self._turns)

    def turns(self, stream: str) -> list[Turn]:
        """Every definition of a stream that was read, in order."""
        with self._lock:
            return [turn for _, turn in sorted(self._turns.get(stream, {}).items())]

    def first_turn(self, clock: str) -> Turn | None:
        """The first definition that was read in which a clock is one of its stream's."""
        return next((turn for turn in self.turns(clock.split("/", 1)[0]) if clock in turn.definition.clocks), None)

    def turn(self, stream: str, number: int) -> Turn:
        """A turn by its number; reads once more when it is not known. Raises LogLost."""
        for attempt in range(2):
            found = self._turns.get(stream, {}).get(number)
            if found is not None:
                return found
            if attempt == 0:
                self.read()
        raise LogLost(
            f"{self._topic} does not hold definition {number} of stream {stream}; restore the topic, or replay into a "
            "new deployment (another TOCSIN_KAFKA_PREFIX)"
        )

    def announced(self) -> Callable[[str, Turn], bool]:
        """Tells whether a turn of a stream is what Tocsin announced, for records that are in the log by now.

        It reads once more at the most: anybody may write thousands of turns that are none.
        """
        has_read = False

        def holds(stream: str, turn: Turn) -> bool:
            nonlocal has_read
            if turn.definition.name != stream or turn.number < 1:
                return False
            if turn.number not in self._turns.get(stream, {}) and not has_read:
                self.read()
                has_read = True
            known = self._turns.get(stream, {}).get(turn.number)
            return known is not None and (known.name, known.from_us) == (turn.name, turn.from_us)

        return holds

    def definition(self, stream: str, generation: str) -> Definition:
        """The definition that slices of `stream` call `generation`. Raises LogLost."""
        return self.turn(stream, streams.turn_number(generation)).definition

    def topic_of_clock(self, clock: str) -> str | None:
        """The id of the raw topic in which a clock began; None when it has not."""
        with self._lock:
            return self._clocks.get(clock)

    def clocks(self) -> Mapping[str, str]:
        """Every clock that has begun, with the id of its raw topic."""
        with self._lock:
            return dict(self._clocks)

    def write_turn(self, turn: Turn, producer: Producer | None = None) -> None:
        """Record a definition, in a transaction of `producer` where one is given; who reads then finds it."""
        failed: list[KafkaError] = []
        with kafka_errors(f"writing {self._topic}"):
            writer = producer or Producer(producer_config(self._settings))
            if producer is not None:
                producer.begin_transaction()
            writer.produce(
                self._topic,
                key=turn_key(turn),
                value=streams.to_note(turn).encode(),
                partition=0,
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )
            if producer is not None:
                producer.commit_transaction(CALL_S)
            left = writer.flush(CALL_S)
        if failed or left:
            raise translated(failed[0] if failed else KafkaError(KafkaError._TIMED_OUT), f"writing {self._topic}")
        self.read_whole()

    def _take(self, key: bytes | None, value: bytes | None) -> None:
        name = (key or b"").decode("utf-8", "replace")
        kind, _, rest = name.partition("/")
        if kind == "turn" and value is not None:
            stream, _, number = rest.rpartition("/")
            try:
                self._turns.setdefault(stream, {})[int(number)] = streams.from_note(value.decode())
            except (msgspec.MsgspecError, ValueError) as error:
                raise TocsinError(
                    f"{self._topic} holds a definition under {name!r} that cannot be read: {error}"
                ) from None
        elif kind == "clock" and value is not None:
            self._clocks[rest] = value.decode("utf-8", "replace")


def turn_key(turn: Turn) -> bytes:
    """The key under which a turn is recorded."""
    return f"turn/{turn.definition.name}/{turn.number}".encode()


def clock_key(clock: str) -> bytes:
    """The key under which it is recorded that a clock has begun."""
    return f"clock/{clock}".encode()
