"""Definitions on Kafka: how a stream file comes into force.

A stream's first definition is in the registry before its topics are read. Another one is announced in every partition
of the stream by a control record, all in one transaction, and comes into force from a tick on. Applying the same file
again changes nothing, and finishes what an earlier call has begun. Of two that apply at once the one that began first
is fenced: no two definitions get the same number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from pipeline.errors import ConfigurationError, TocsinError
from pipeline.instants import SECOND_US, to_iso
from pipeline.kafka import wire
from pipeline.kafka.client import CALL_S, EPOCH_OVER, kafka_errors, producer_config
from pipeline.kafka.ingest_state import KeptState
from pipeline.kafka.names import Names
from pipeline.kafka.read_ahead import watermarks_ahead
from pipeline.kafka.registry import Registry
from pipeline.settings import Settings
from pipeline.streams import Definition, Turn

# What a producer is told after another has begun under its name.
_FENCED = EPOCH_OVER | {KafkaError._STATE}

#: Microseconds that a live stream's definition is given to be announced before its first tick begins.
ANNOUNCE_US = 10 * SECOND_US
#: Ticks of the new definition within which one begins together with one of the old.
MOST_TICKS = 10_000


class Change(NamedTuple):
    """What `apply` did about one stream: `from_us` is the first tick of a definition that follows another."""

    stream: str
    what: Literal["new", "changed", "settings", "unchanged"]
    number: int
    from_us: int = 0


class Definitions:
    """Brings streams to their definitions. `kept` reads the states that ingest has committed, by clock."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        kept: Callable[[], dict[str, KeptState]],
        *,
        now_us: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._names = Names.of(settings)
        self._registry = registry
        self._kept = kept
        self._now_us = now_us

    def apply(self, definition: Definition, at_us: int | None = None) -> Change:
        """Bring one stream to `definition` (as the stream file says it), from the tick that begins at `at_us` on.

        Without `at_us` it is the first tick that no clock will have reached when all is read that raw topics hold by
        now. Raises ConfigurationError when that tick has begun, when `at_us` begins no tick, when the kind is another
        one, or while another definition waits for its tick; BrokerUnavailable.
        """
        wanted = self._names.defined(definition)
        if not wanted.clocks:
            raise ConfigurationError(f"stream {definition.name} has no source; give it one in the stream file")
        with self._alone(definition.name) as producer:
            return self._apply(definition, wanted, at_us, producer)

    def _apply(self, definition: Definition, wanted: Definition, at_us: int | None, producer: Producer) -> Change:
        self._registry.read_whole()
        turns = self._registry.turns(definition.name)
        if not turns:
            self._registry.write_turn(Turn(1, wanted), producer)
            return Change(definition.name, "new", 1)
        last = turns[-1]
        states = {c: s for c, s in self._kept().items() if c.split("/", 1)[0] == definition.name}
        if last.definition.version == wanted.version:
            self._finish(turns, states, producer)
            if last.definition == wanted:
                return Change(definition.name, "unchanged", last.number, last.from_us)
            # Settings of the shells alone: nothing that folds depend on.
            self._registry.write_turn(Turn(last.number, wanted, last.from_us), producer)
            return Change(definition.name, "settings", last.number, last.from_us)
        if last.definition.kind != wanted.kind:
            raise ConfigurationError(
                f"stream {definition.name} is of kind {last.definition.kind}, and the file says {wanted.kind}: the "
                "classifier reads each kind in another way; make another stream"
            )
        self._check_settled(last, states)
        clocks = {*last.definition.clocks, *wanted.clocks}
        self._check_topics(clocks, producer)
        turn = Turn(last.number + 1, wanted, self._first_tick(last.definition, wanted, states, at_us))
        self._registry.write_turn(turn, producer)
        self._announce(turn, clocks, producer)
        return Change(definition.name, "changed", turn.number, turn.from_us)

    def _finish(self, turns: list[Turn], states: dict[str, KeptState], producer: Producer) -> None:
        """Announce the last definition again where an earlier call died before it did."""
        last = turns[-1]
        if last.number == 1:
            return
        clocks = {*turns[-2].definition.clocks, *last.definition.clocks}
        unaware = [c for c, s in states.items() if c in clocks and max(s.turn, s.pending) < last.number]
        if unaware:
            self._announce(last, clocks, producer)

    def _check_settled(self, last: Turn, states: dict[str, KeptState]) -> None:
        # A clock that ingest has not read at all has not come to it either; of a first definition none has to.
        waiting = sorted(
            clock
            for clock in last.definition.clocks
            if last.number > 1 and (clock not in states or states[clock].turn < last.number)
        )
        if waiting:
            raise ConfigurationError(
                f"stream {last.definition.name}: its definition {last.number} takes effect at {to_iso(last.from_us)}, "
                f"and {waiting[0]} has not come to it yet; apply the next one after that"
            )

    def _check_topics(self, clocks: Iterable[str], producer: Producer) -> None:
        """Nothing may be written that cannot be announced: it would stand in the way of all that follow."""
        with kafka_errors("looking for the raw topics"):
            there = producer.list_topics(timeout=CALL_S).topics
        missing = sorted({topic for topic, _ in map(self._names.raw_place, clocks)} - there.keys())
        if missing:
            raise ConfigurationError(
                f"there is no topic {missing[0]}; run `tocsin topics create` with this stream file first. Nothing was "
                "changed"
            )

    def _first_tick(self, old: Definition, new: Definition, states: dict[str, KeptState], at_us: int | None) -> int:
        """The start of the first tick of the new definition: there a tick of the old one begins as well, so that each
        tick is one definition's alone."""
        reached = watermarks_ahead(self._settings, self._registry, old.clocks, states)
        # Asked after the reading, which may take its time; what is announced by then is announced before its tick.
        now = {"the time of day": self._now_us() + ANNOUNCE_US} if new.clock == "arrival" else {}
        if at_us is None:
            return _common_start(old, new, max([*reached.values(), *now.values(), 0]))
        if _common_start(old, new, at_us - 1) != at_us:
            begins = to_iso(_common_start(old, new, at_us))
            raise ConfigurationError(
                f"no tick of {new.name} begins at {to_iso(at_us)}, of the new definition and of the one before; the "
                f"next ones begin at {begins}"
            )
        for clock, watermark_us in [*sorted(reached.items()), *now.items()]:
            if watermark_us >= at_us:
                raise ConfigurationError(
                    f"the tick of {to_iso(at_us)} has begun: {clock} is at {to_iso(watermark_us)}; name a later one"
                )
        return at_us

    def _announce(self, turn: Turn, clocks: Iterable[str], producer: Producer) -> None:
        value, headers = wire.define(turn)
        with kafka_errors(f"announcing definition {turn.number} of {turn.definition.name}"):
            producer.begin_transaction()
            for clock in sorted(clocks):
                topic, partition = self._names.raw_place(clock)
                producer.produce(topic, value, partition=partition, headers=headers)
            producer.commit_transaction(CALL_S)

    @contextmanager
    def _alone(self, stream: str) -> Iterator[Producer]:
        """A producer under a name that all who apply share: whoever had it before can write nothing from now on.

        Raises ConfigurationError where another has it meanwhile.
        """
        with kafka_errors("beginning to apply definitions"):
            producer = Producer(
                producer_config(self._settings)
                | {
                    "transactional.id": f"{self._names.prefix}.define-turns",
                    "transaction.timeout.ms": round(CALL_S * 1000),
                    "delivery.timeout.ms": round(CALL_S * 1000),
                }
            )
            producer.init_transactions(CALL_S)
        try:
            yield producer
        except TocsinError as error:
            cause = error.__cause__
            if isinstance(cause, KafkaException) and cause.args[0].code() in _FENCED:
                raise ConfigurationError(
                    f"somebody else applies definitions at the same time; look at `tocsin streams list`, and apply "
                    f"stream {stream} again"
                ) from error
            raise


def _common_start(old: Definition, new: Definition, after_us: int) -> int:
    """The first instant after `after_us` at which a tick of both definitions begins. Raises ConfigurationError."""
    ticks, before = new.ticks, old.ticks
    first = ticks.index(after_us) + 1
    for start_us in map(ticks.start_us, range(first, first + MOST_TICKS)):
        if before.start_us(before.index(start_us)) == start_us:
            return start_us
    raise ConfigurationError(
        f"the ticks of stream {new.name} and those of its definition before do not begin together within "
        f"{MOST_TICKS} ticks; choose a width that divides the other, or make another stream"
    )
