"""Two workers of one name: a clear stop, which neither a frozen process nor a single echo brings about."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import structlog.testing
from confluent_kafka import Producer
from deployed import Deployment, running, wait_until

from pipeline.errors import ConfigurationError
from pipeline.kafka import ingest, score, transactional_writer
from pipeline.kafka.client import producer_config
from pipeline.kafka.readback import end_of, read_back
from pipeline.kafka.worker import Context
from pipeline.settings import Settings

CLOCK = "logs/push/0"
CLOCKS = (CLOCK, "logs/push/1")  # one for each of two workers: who has nothing to write is not fenced
ITEM = {"text": "disk failed", "time": "2024-05-06T00:00:00Z", "source": "a"}


@pytest.fixture
def deployment(kafka_settings: Settings) -> Deployment:
    made = Deployment(kafka_settings.model_copy(update={"engine": "null", "worker": "one", "kafka_raw_partitions": 2}))
    made.apply()
    return made


def test_of_two_workers_of_one_name_one_stops_and_says_which(deployment: Deployment) -> None:
    said: list[ConfigurationError] = []
    contexts = [deployment.context("ingest") for _ in range(2)]

    def work(number: int) -> None:
        try:
            ingest.run(contexts[number])
        except ConfigurationError as error:
            said.append(error)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(2)]
    for thread in threads:
        thread.start()
    sent = 0

    def one_has_stopped() -> bool:
        nonlocal sent
        for clock in CLOCKS:
            deployment.send_items(clock, [ITEM])
        sent += 1
        return not all(thread.is_alive() for thread in threads)

    wait_until(one_has_stopped, "one of the two to stop")
    [error] = said
    assert "another worker uses the name 'one'" in str(error)
    assert f"transactional id {deployment.names.group('ingest')}-one)" in str(error)
    assert "give each its own TOCSIN_WORKER" in str(error)
    for place in map(deployment.names.raw_place, CLOCKS):
        wait_until(lambda place=place: deployment.covered("ingest", *place) == sent, "the other to go on")  # type: ignore[misc]
    signals = [signal for slice in deployment.slices(deployment.names.signals) for signal in slice.signals]
    assert len(signals) == sent * len(CLOCKS)
    for context in contexts:
        context.stop.set()
    for thread in threads:
        thread.join(30)


def test_a_transaction_that_took_too_long_is_not_taken_for_another_worker(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactional_writer, "TRANSACTION_S", 2)
    scores = deployment.names.scores, deployment.names.signal_partition(CLOCK)

    def frozen() -> bool:
        """Until the broker has given the transaction up, as for a process that stands still."""
        wait_until(lambda: end_of(deployment.settings, *scores) > 0, "the scores to be written")
        assert list(read_back(deployment.settings, *scores, 0)) == []
        return False

    def echo() -> bool:
        id = {"transactional.id": f"{deployment.names.group('score')}-one", "delivery.timeout.ms": 10_000}
        Producer(producer_config(deployment.settings) | id).init_transactions(30)
        return False

    happens: list[Callable[[], bool]] = [frozen, echo]

    def scoring(context: Context) -> None:
        score.run(context, spoil=lambda: happens.pop(0)() if happens else False)

    deployment.send_items(CLOCK, [ITEM])
    with (
        structlog.testing.capture_logs() as logs,
        running(ingest.run, deployment.context("ingest")),
        running(scoring, deployment.context("score")),
    ):
        wait_until(lambda: len(deployment.scores()) == 1, "the scores")
    told = [entry["event"] for entry in logs if entry["event"] in ("transaction_aborted", "worker_name_taken")]
    assert told == ["transaction_aborted", "transaction_aborted", "worker_name_taken"]
    assert {entry["code"] for entry in logs if entry["event"] == "transaction_aborted"} == {"_FENCED"}
