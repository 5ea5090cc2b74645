"""Reading ahead: where the clocks of a stream will be once ingest has read all that its raw topics hold by now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import islice

from pipeline.ingest.fold import IngestFold
from pipeline.kafka import wire
from pipeline.kafka.clock_states import kept_fold
from pipeline.kafka.ingest_state import KeptState
from pipeline.kafka.names import Names
from pipeline.kafka.readback import read_back
from pipeline.kafka.registry import Registry
from pipeline.records import LEFT_US
from pipeline.settings import Settings

# Messages that are folded at once: a backlog may not fit into memory.
_MESSAGES = 10_000


def watermarks_ahead(
    settings: Settings, registry: Registry, clocks: Iterable[str], states: Mapping[str, KeptState]
) -> dict[str, int]:
    """The watermark of each clock that has one and has not left. Folds what ingest has not committed, and keeps nothing
    of it; takes about as long as ingest would. Raises BrokerUnavailable, ConfigurationError, LogLost."""
    names = Names.of(settings)
    announced = registry.announced()
    found = {}
    for clock in clocks:
        topic, partition = names.raw_place(clock)
        stream, source = names.source_of(topic)
        if clock in states:
            fold = kept_fold(registry, clock, states[clock])
        elif turn := registry.first_turn(clock):
            fold = IngestFold(turn, clock)
        else:
            continue
        messages = read_back(settings, topic, partition, fold.position)
        while chunk := list(islice(messages, _MESSAGES)):
            knows = partial(announced, stream)
            fold.apply(wire.raw_records(chunk, position=fold.position, source=source, knows=knows))
        if fold.watermark_us is not None and fold.watermark_us < LEFT_US:
            found[clock] = fold.watermark_us
    return found
