"""The metrics of a Kafka worker, in one registry: every name, its unit and its meaning."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_RECORDS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)


class WorkerMetrics:
    """The instruments of one worker; each is there in every worker, and moves where it has a meaning."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        place = ["topic", "partition"]
        self.lag_records = Gauge(
            "tocsin_lag_records", "offsets between a worker's position and the end of what it reads", place,
            registry=registry,
        )  # fmt: skip
        self.lag_seconds = Gauge(
            "tocsin_lag_seconds",
            "event time between a clock and the wall clock, as far as this worker has come",
            ["clock"],
            registry=registry,
        )
        self.watermark = Gauge(
            "tocsin_watermark_seconds", "greatest event time seen, seconds since 1970", ["clock"], registry=registry
        )
        self.items = Counter(
            "tocsin_items", "items taken in since this worker started, by what became of them", ["clock", "fate"],
            registry=registry,
        )  # fmt: skip
        self.signals = Counter("tocsin_signals", "signals that this worker has handled", registry=registry)
        self.batch = Histogram(
            "tocsin_batch_records", "records that one transaction or batch has read", buckets=_RECORDS,
            registry=registry,
        )  # fmt: skip
        self.transaction = Histogram(
            "tocsin_transaction_seconds", "from the beginning of a transaction to its commit", buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self.aborts = Counter("tocsin_transaction_aborts", "transactions that were given up", registry=registry)
        self.cache_hits = Counter("tocsin_cache_hits", "scores found in memory", registry=registry)
        self.cache_misses = Counter("tocsin_cache_misses", "scores not found in memory", registry=registry)
        self.checkpoint_age = Gauge(
            "tocsin_checkpoint_age_seconds", "since the last checkpoint of a partition", place, registry=registry
        )
        self.checkpoint_cost = Histogram(
            "tocsin_checkpoint_cost_seconds", "what a checkpoint took", buckets=_SECONDS, registry=registry
        )
        self.checkpoint_bytes = Counter("tocsin_checkpoint_bytes", "bytes of states written", registry=registry)
        self.rewinds = Counter(
            "tocsin_rewinds", "times a partition was read again from an earlier position", place, registry=registry
        )
        self.outbox = Gauge("tocsin_outbox_depth", "deliveries that wait to be sent", registry=registry)
        self.transitions = Counter("tocsin_transitions", "steps of surges stored", registry=registry)
        self.dependency_up = Gauge(
            "tocsin_dependency_up", "1 while what this worker depends on answers, 0 while it is waited for",
            ["dependency"], registry=registry,
        )  # fmt: skip
