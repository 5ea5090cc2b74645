"""The topics of a deployment: which there must be, and where what there is differs. Pure.

What lies between two workers is kept as long as the raw log; scores, which replay reads, as long as history. Numbers
of partitions decide where everything goes, so they are fixed when a deployment is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import ConfigurationError
from pipeline.instants import DAY_US
from pipeline.kafka.names import Names
from pipeline.settings import Settings
from pipeline.streams import Definition

#: Largest record of a raw topic: an item of at most 1 MiB, some headers, and room to say that one is too long.
MAX_RAW_BYTES = 2 * 2**20
#: Largest record of all other topics: one transaction's share of a partition, or the state of a bucket.
MAX_MESSAGE_BYTES = 16 * 2**20

_DAY_MS = DAY_US // 1000


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it must be; `setting` is what decides how many partitions it has, "" when nothing does."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str]
    setting: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as it is."""

    partitions: int
    replication: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing about a topic that is not as it must be, and what to do about it."""

    topic: str
    what: str
    advice: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.what}; {self.advice}"


def wanted_topics(settings: Settings, definitions: Iterable[Definition]) -> list[Topic]:
    """Every topic of a deployment. Raises ConfigurationError where two sources would share a name."""
    names = Names.of(settings)
    common = {"compression.type": "zstd", "min.insync.replicas": "2" if settings.kafka_replication >= 3 else "1"}
    if settings.kafka_replication > 1:
        # A replica that lacks what was confirmed must not lead: that would be a silent loss.
        common["unclean.leader.election.enable"] = "false"
    large = common | {"max.message.bytes": str(MAX_MESSAGE_BYTES)}
    # Each compaction of the registry is over a few kilobytes; of a changelog, over states of megabytes written every
    # few seconds, whose last segment is never compacted: a new one is begun often.
    compacted = large | {"cleanup.policy": "compact"}
    changelog = compacted | {
        "segment.bytes": str(64 * 2**20),
        "segment.ms": str(_DAY_MS // 24),
        "min.cleanable.dirty.ratio": "0.1",
    }
    as_raw, as_history = _kept(settings.raw_retention_days), _kept(settings.history_days)
    raw = common | as_raw | {"max.message.bytes": str(MAX_RAW_BYTES), "message.timestamp.type": "LogAppendTime"}

    def topic(name: str, partitions: int, config: dict[str, str], setting: str = "") -> Topic:
        return Topic(name, partitions, settings.kafka_replication, config, setting)

    buckets, parts = (settings.buckets, "TOCSIN_BUCKETS"), (names.signal_partitions, "TOCSIN_KAFKA_SIGNAL_PARTITIONS")
    topics = [
        topic(names.raw(definition.name, source.name), names.raw_partitions, raw, "TOCSIN_KAFKA_RAW_PARTITIONS")
        for definition in definitions
        for source in definition.sources
    ]
    for name, (partitions, setting), config in (
        (names.signals, parts, large | as_raw),
        (names.scores, parts, large | as_history),
        (names.dead, parts, large | as_raw),
        (names.tallies, buckets, large | as_raw),
        (names.verdicts, buckets, large | as_raw),
        (names.surges, parts, large | as_raw),
        (names.registry, (1, ""), compacted),
        (names.changelog("buckets"), buckets, changelog),
        (names.changelog("judges"), buckets, changelog),
    ):
        topics.append(topic(name, partitions, config, setting))
    _check_names(topics)
    return topics


def _kept(days: float) -> dict[str, str]:
    """Configuration of a topic whose records go `days` after they came, a tenth of that or a day later at most."""
    retention_ms = round(days * _DAY_MS)
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(retention_ms),
        "retention.bytes": "-1",
        # Segments go as a whole, when their youngest record has come of age.
        "segment.ms": str(max(min(_DAY_MS, retention_ms // 10), 60_000)),
    }


def _check_names(topics: Sequence[Topic]) -> None:
    """Kafka refuses names that differ in '.' and '_' only."""
    alike: dict[str, str] = {}
    for topic in topics:
        other = alike.setdefault(topic.name.replace(".", "_"), topic.name)
        if other != topic.name:
            raise ConfigurationError(
                f"Kafka cannot tell the topics {other} and {topic.name} apart: it takes '.' and '_' for the same; "
                "rename a source"
            )


def differences(wanted: Topic, found: Found | None) -> list[Difference]:
    """Where a topic is not as it must be."""
    name = wanted.name
    if found is None:
        return [Difference(name, "is missing", "run `tocsin topics create`")]
    differing = []
    if found.partitions != wanted.partitions:
        advice = "move what it holds elsewhere, delete it, and run `tocsin topics create`"
        if wanted.setting:
            advice = (
                f"these numbers are fixed when a deployment is made: set {wanted.setting} to {found.partitions}, or "
                "begin a new deployment under another TOCSIN_KAFKA_PREFIX"
            )
        what = f"partitions: {found.partitions} where {wanted.partitions} are wanted"
        differing.append(Difference(name, what, advice))
    if found.replication < wanted.replication:
        what = f"replicas: {found.replication} where {wanted.replication} are wanted"
        advice = f"add some with kafka-reassign-partitions.sh, or set TOCSIN_KAFKA_REPLICATION to {found.replication}"
        differing.append(Difference(name, what, advice))
    for key, value in wanted.config.items():
        is_now = found.config.get(key)
        if is_now is None or not _same(is_now, value):
            alter = f"kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config {key}={value}"
            what = f"{key} is {'not known to this broker' if is_now is None else is_now} where {value} is wanted"
            differing.append(Difference(name, what, f"set it: {alter}"))
    return differing


def _same(one: str, other: str) -> bool:
    """Whether two values of a setting mean the same: 0.1 and 0.10 do."""
    try:
        return float(one) == float(other)
    except ValueError:
        return one == other
