"""The metrics, in one registry: every name, its unit and its meaning.

Read when they are asked for, from what the pipeline knows of itself; nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.ingest.state import Counts
from pipeline.records import LEFT_US


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionFacts:
    """What is known of one raw partition."""

    partition: str
    accepted: int
    entries_behind: int
    counts: Counts
    watermark_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFacts:
    """What is known of the pipeline at one moment."""

    partitions: list[PartitionFacts]
    cache_hits: int
    cache_misses: int
    checkpoint_age_s: float
    checkpoint_cost_s: float


class _PipelineCollector(Collector):
    def __init__(self, facts: Callable[[], PipelineFacts]) -> None:
        self._facts = facts

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        facts = self._facts()
        accepted = CounterMetricFamily(
            "tocsin_accepted_items", "items that are durable in the raw log", labels=["partition"]
        )
        fates = CounterMetricFamily(
            "tocsin_items", "items folded, by what became of them", labels=["partition", "fate"]
        )
        behind = GaugeMetricFamily("tocsin_entries_behind", "entries not folded yet", labels=["partition"])
        watermark = GaugeMetricFamily(
            "tocsin_watermark_seconds", "greatest event time seen, seconds since 1970", labels=["partition"]
        )
        for one in facts.partitions:
            accepted.add_metric([one.partition], one.accepted)
            behind.add_metric([one.partition], one.entries_behind)
            for fate in ("counted", "late", "duplicates", "dead"):
                fates.add_metric([one.partition, fate], getattr(one.counts, fate))
            if one.watermark_us is not None and one.watermark_us != LEFT_US:
                watermark.add_metric([one.partition], one.watermark_us / 1e6)
        yield from (accepted, fates, behind, watermark)
        yield CounterMetricFamily("tocsin_cache_hits", "scores found in memory", value=facts.cache_hits)
        yield CounterMetricFamily("tocsin_cache_misses", "scores not found in memory", value=facts.cache_misses)
        yield GaugeMetricFamily(
            "tocsin_checkpoint_age_seconds", "since the last checkpoint was stored", value=facts.checkpoint_age_s
        )
        yield GaugeMetricFamily(
            "tocsin_checkpoint_cost_seconds", "what the last checkpoint took", value=facts.checkpoint_cost_s
        )


def registry_of(facts: Callable[[], PipelineFacts]) -> CollectorRegistry:
    """The registry of one pipeline: its own metrics and those of the process."""
    registry = CollectorRegistry()
    registry.register(_PipelineCollector(facts))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
