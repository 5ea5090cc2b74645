"""The bench of Kafka's runtime: throughput, a plain Faust app beside it, and latency, on brokers of its own."""

from __future__ import annotations

from typing import Any

import psutil  # type: ignore[import-untyped, unused-ignore]

from pipeline.bench import live_feed, throughput
from pipeline.bench.baseline import baseline
from pipeline.bench.deployment import bench_deployment
from pipeline.bench.items import ITEM_BYTES
from pipeline.bench.latency import latency
from pipeline.bench.throughput import Say
from pipeline.settings import Settings

#: All that is not at its default.
_SETTINGS: dict[str, Any] = {"engine": "null", "kafka_raw_partitions": 2}
_TOLD = ("kafka_raw_partitions", "kafka_signal_partitions", "buckets", "slice_items", "checkpoint_s")


def bench_kafka(*, signals: int, keys: int, webhooks: int, say: Say) -> dict[str, Any]:
    """All of it, one after the other; one object. Raises ServerStartFailed where there is no Kafka, TocsinError when
    not all comes through."""
    with bench_deployment(throughput.STREAMS, **_SETTINGS) as deployment:
        result = throughput.throughput(deployment, signals=signals, keys=keys, say=say)
        say(f"{result['signals_per_second']:,} signals a second")
        plain = baseline(deployment, keys=keys, say=say)
        settings = deployment.settings
    say(f"plain Faust: {plain['baseline']:,} a second")
    result |= plain | {"ratio": round(result["signals_per_second"] / plain["baseline"], 1)}
    with bench_deployment(live_feed.STREAMS, **_SETTINGS) as deployment:
        result |= latency(deployment, webhooks=webhooks, say=say)
    return result | {
        "engine": settings.engine,
        "item_bytes": ITEM_BYTES,
        "settings": _told(settings),
        "cores": psutil.cpu_count(),
    }


def _told(settings: Settings) -> dict[str, Any]:
    return {
        **{name: getattr(settings, name) for name in _TOLD},
        "workers": dict.fromkeys(sorted({*throughput.KINDS, "deliver"}), 1),
    }
