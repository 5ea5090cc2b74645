"""The benches on Kafka, small: whether what they report adds up, not how fast it was."""

from __future__ import annotations

from pipeline.bench.deployment import bench_deployment
from pipeline.bench.latency import reached_by_all
from pipeline.bench.throughput import STREAMS, throughput
from pipeline.servers.kafka_broker import KafkaHome


def test_the_throughput_bench_counts_every_item_and_says_what_the_local_runtime_says(
    kafka_home: KafkaHome,
) -> None:
    with bench_deployment(STREAMS, engine="null", kafka_raw_partitions=2) as deployment:
        result = throughput(deployment, signals=8_000, keys=40, per_tick=200, say=lambda text: None)
    assert result["counted"] == 8_000
    assert result["transitions"] > 0
    assert result["digest_equal"]
    assert result["signals_per_second"] > 0
    assert {"ingest", "score", "aggregate", "dispatch", "broker"} <= result["cpu_seconds_per_million"].keys()


def test_a_tick_closes_with_the_record_by_which_the_last_clock_reaches_its_end() -> None:
    slow = [(900, 1), (1_001, 50), (2_500, 90)]
    fast = [(1_000, 10), (2_000, 20), (3_000, 30)]
    assert reached_by_all([slow, fast], [1_000, 2_000, 3_000]) == {1_000: 50, 2_000: 90}
