"""Names: which topics, partitions and clocks there are, from the prefix and the stream file. Pure.

A source is a raw topic, and each of its partitions a clock. What follows is shared by all streams: signals and
scores are parted by clock, tallies and verdicts by bucket and by stream.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from pipeline.settings import Settings
from pipeline.streams import Definition, adapted


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one deployment."""

    prefix: str
    raw_partitions: int
    signal_partitions: int
    buckets: int

    @classmethod
    def of(cls, settings: Settings) -> Names:
        return cls(
            prefix=settings.kafka_prefix,
            raw_partitions=settings.kafka_raw_partitions,
            signal_partitions=settings.kafka_signal_partitions,
            buckets=settings.buckets,
        )

    @property
    def signals(self) -> str:
        return f"{self.prefix}.signals"

    @property
    def scores(self) -> str:
        return f"{self.prefix}.scores"

    @property
    def tallies(self) -> str:
        return f"{self.prefix}.tallies"

    @property
    def verdicts(self) -> str:
        return f"{self.prefix}.verdicts"

    @property
    def surges(self) -> str:
        return f"{self.prefix}.surges"

    @property
    def dead(self) -> str:
        return f"{self.prefix}.dead"

    @property
    def registry(self) -> str:
        """Compacted: definitions by turn, and which clocks have begun."""
        return f"{self.prefix}.registry"

    def group(self, worker: str) -> str:
        """The consumer group of a kind of worker."""
        return f"{self.prefix}.{worker}"

    def changelog(self, table: str) -> str:
        """The compacted topic in which the aggregator's table ("buckets", "judges") is kept; Faust's way to name it."""
        return f"{self.group('aggregate')}-{table}-changelog"

    def raw(self, stream: str, source: str) -> str:
        """The raw topic of a source."""
        return f"{self.prefix}.raw.{stream}.{source}"

    def source_of(self, topic: str) -> tuple[str, str]:
        """(stream, source) of a raw topic."""
        stream, _, source = topic.removeprefix(f"{self.prefix}.raw.").partition(".")
        return stream, source

    def clock(self, topic: str, partition: int) -> str:
        """The clock that a partition of a raw topic is."""
        stream, source = self.source_of(topic)
        return f"{stream}/{source}/{partition}"

    def raw_place(self, clock: str) -> tuple[str, int]:
        """(raw topic, partition) of a clock."""
        stream, source, number = clock.split("/")
        return self.raw(stream, source), int(number)

    def clocks(self, definition: Definition) -> tuple[str, ...]:
        """Every clock of a stream."""
        return tuple(
            f"{definition.name}/{source.name}/{n}" for source in definition.sources for n in range(self.raw_partitions)
        )

    def defined(self, definition: Definition) -> Definition:
        """The definition with the clocks that it has on Kafka."""
        return adapted(definition, clocks=self.clocks(definition))

    def signal_partition(self, clock: str) -> int:
        """The partition of `signals`, `scores` and `dead` that everything of a clock goes to.

        The clocks of one source are dealt out in turn, so that none of the partitions stands empty by chance.
        """
        source, _, number = clock.rpartition("/")
        return (zlib.crc32(source.encode()) + int(number)) % self.signal_partitions

    def judge_partition(self, stream: str) -> int:
        """The partition of `verdicts` that all buckets of a stream report to; there are as many as buckets."""
        return zlib.crc32(stream.encode()) % self.buckets

    def surge_partition(self, stream: str) -> int:
        """The partition of `surges` that a stream's transitions go to."""
        return zlib.crc32(stream.encode()) % self.signal_partitions
