"""Metrics of several workers of a kind: each partition is told of by the one that has it."""

from __future__ import annotations

from deployed import Deployment, running, wait_until

from pipeline.kafka import ingest
from pipeline.kafka.worker import Context
from pipeline.settings import Settings

CLOCKS = ("logs/push/0", "logs/push/1")


def _told(context: Context, metric: str, label: str) -> set[str]:
    """For which clocks or partitions a worker has a series of a metric."""
    found = (family for family in context.metrics.registry.collect() if family.name == metric)
    return {sample.labels[label] for family in found for sample in family.samples}


def test_a_partition_that_has_moved_on_is_told_of_by_its_new_worker_alone(kafka_settings: Settings) -> None:
    deployment = Deployment(kafka_settings.model_copy(update={"kafka_raw_partitions": 2}))
    deployment.apply()
    item = b'{"text":"disk failed","time":"2024-05-06T00:00:00Z"}'
    for clock in CLOCKS:
        deployment.send(clock, [item])
    with running(ingest.run, deployment.context("ingest")) as first:
        wait_until(lambda: _told(first, "tocsin_watermark_seconds", "clock") == set(CLOCKS), "both clocks")
        wait_until(lambda: _told(first, "tocsin_lag_records", "partition") == {"0", "1"}, "both partitions")
        with running(ingest.run, deployment.context("ingest")) as second:

            def shared() -> bool:
                for clock in CLOCKS:
                    deployment.send(clock, [item])
                told = [_told(one, "tocsin_watermark_seconds", "clock") for one in (first, second)]
                lag = [_told(one, "tocsin_lag_records", "partition") for one in (first, second)]
                return all(len(one) == 1 for one in told + lag) and not told[0] & told[1] and not lag[0] & lag[1]

            wait_until(shared, "each to tell of its own")
