"""The push API over HTTP into raw topics: what is answered with 202 is there, once, whatever becomes of the broker."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from confluent_kafka import Producer
from deployed import Deployment, running, wait_until

from pipeline.errors import ConfigurationError, JournalError, JournalUnavailable, JournalUncertain, TocsinError
from pipeline.ingest.fold import IngestFold
from pipeline.kafka import api, raw_transaction
from pipeline.kafka.client import connection
from pipeline.kafka.health import Health
from pipeline.kafka.journal import KafkaJournal
from pipeline.kafka.metrics import WorkerMetrics
from pipeline.kafka.push_keys import PushKeys
from pipeline.kafka.push_sink import KafkaSink
from pipeline.kafka.raw_transaction import RawTransaction
from pipeline.kafka.raw_writer import RawWriter
from pipeline.kafka.step import Place
from pipeline.pushing.batch import Batch, Run
from pipeline.pushing.patience import Patience
from pipeline.servers.kafka_broker import KafkaHome, LocalBroker
from pipeline.settings import Settings
from pipeline.streams import Turn, adapted

TEXT = {"content-type": "text/plain"}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def set_to(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update=changes)


class Api:
    """A client of a push API."""

    def __init__(self, port: int) -> None:
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)

    def post(self, content: bytes, key: str | None = None, **params: str) -> httpx.Response:
        headers = TEXT | ({"idempotency-key": key} if key else {})
        return self.client.post("/v1/items", content=content, headers=headers, params={"stream": "logs"} | params)

    def heartbeat(self, time: str) -> httpx.Response:
        return self.client.post("/v1/heartbeats", json={"stream": "logs", "time": time})

    def ready(self) -> httpx.Response:
        return self.client.get("/readyz")

    def is_ready(self) -> bool:
        try:
            return self.ready().status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def serving(deployment: Deployment) -> Iterator[Api]:
    """A push API on a thread, ready."""
    context = deployment.context("api")
    with running(api.run, context), reached(context.settings) as client:
        wait_until(client.is_ready, "the push API")
        yield client


@contextmanager
def reached(settings: Settings) -> Iterator[Api]:
    client = Api(settings.port)
    try:
        yield client
    finally:
        client.client.close()


@pytest.fixture
def deployment(kafka_settings: Settings) -> Deployment:
    return Deployment(set_to(kafka_settings, kafka_raw_partitions=4, port=free_port()))


def texts(deployment: Deployment, clock: str) -> list[str]:
    return [payload.decode() for record in deployment.raw(clock) for payload in record.payloads]


def clocks(deployment: Deployment) -> list[str]:
    return [f"logs/push/{number}" for number in range(deployment.names.raw_partitions)]


def test_a_push_is_answered_with_the_place_at_which_readers_find_it(deployment: Deployment) -> None:
    with serving(deployment) as client:
        client.post(b"first", source="web1")
        answer = client.post(b"a\nb", source="web1")
    assert answer.status_code == 202
    said = answer.json()
    assert said | {"partition": "", "from": 0, "to": 0} == {
        "accepted": 2, "stream": "logs", "partition": "", "from": 0, "to": 0, "repeated": False
    }  # fmt: skip
    found = {r.position + i: (p, r.source) for r in deployment.raw(said["partition"]) for i, p in enumerate(r.payloads)}
    assert [found[n] for n in range(said["from"], said["to"])] == [(b"a", "web1"), (b"b", "web1")]


def test_a_sender_keeps_to_one_partition_and_a_key_to_its_own(deployment: Deployment) -> None:
    with serving(deployment) as client:
        by_sender = {n: client.post(b"a", key=f"k{n}", source="web1").json()["partition"] for n in range(8)}
        by_key = {n: client.post(b"a", key=f"k{n}").json()["partition"] for n in range(16)}
        again = {n: client.post(b"a", key=f"k{n}").json()["partition"] for n in range(16)}
    assert len(set(by_sender.values())) == 1
    assert len(set(by_key.values())) == 4
    assert again == by_key


def test_a_repeated_key_gets_the_same_answer_and_stores_nothing(deployment: Deployment) -> None:
    with serving(deployment) as client:
        first = client.post(b"a\nb", key="k").json()
        client.post(b"c")
        assert client.post(b"a\nb", key="k").json() == first | {"repeated": True}
        assert client.post(b"other", key="k").status_code == 422
    assert sorted(text for clock in clocks(deployment) for text in texts(deployment, clock)) == ["a", "b", "c"]


def test_a_key_that_another_process_stored_is_stored_again_and_counts_once(deployment: Deployment) -> None:
    longest = "k" * 200
    answers = []
    for _ in range(2):
        with serving(deployment) as client:
            answers.append(client.post(b"a\nb", key=longest).json())
    clock = answers[0]["partition"]
    assert answers[1]["partition"] == clock
    definition = adapted(deployment.names.defined(deployment.file.streams["logs"]), clock="arrival")
    fold = IngestFold(Turn(1, definition), clock)
    fold.apply(deployment.raw(clock))
    assert (fold.counts.items, fold.counts.counted, fold.counts.duplicates) == (4, 2, 2)


def test_a_heartbeat_reaches_every_clock_of_a_source(deployment: Deployment) -> None:
    with serving(deployment) as client:
        said = client.heartbeat("2026-01-01").json()
    beats = {clock: [r.time_us for r in deployment.raw(clock) if r.kind == "heartbeat"] for clock in clocks(deployment)}
    assert list(beats.values()) == [[1_767_225_600_000_000]] * 4
    assert [place["partition"] for place in said["partitions"]] == clocks(deployment)


def test_an_item_too_long_for_the_topic_becomes_a_broken_one(deployment: Deployment) -> None:
    long = os.urandom(3 * 2**20).hex().encode()
    with serving(deployment) as client:
        said = client.post(long + b"\nshort", source="web1").json()
    records = [r for r in deployment.raw(said["partition"]) if r.kind == "items"]
    assert [(r.form, r.payloads[0][:9]) for r in records] == [("broken", long[:9]), ("line", b"short")]
    assert "more than 1048576" in records[0].note


def test_a_missing_topic_stops_the_api_with_what_to_do(kafka_settings: Settings) -> None:
    other = Deployment(kafka_settings)
    context = other.context("api")
    settings = set_to(kafka_settings, kafka_prefix=f"{kafka_settings.kafka_prefix}-other", port=free_port())
    with pytest.raises(ConfigurationError, match="tocsin topics create"):
        api.run(type(context)(settings=settings, file=other.file, health=Health("api")))


def test_another_number_of_partitions_stops_the_api(deployment: Deployment) -> None:
    deployment.settings = set_to(deployment.settings, kafka_raw_partitions=5)
    with pytest.raises(ConfigurationError, match="has 4 partitions"):
        api.run(deployment.context("api"))


def test_an_api_that_is_open_to_a_network_needs_a_token(deployment: Deployment) -> None:
    deployment.settings = set_to(deployment.settings, host="0.0.0.0")
    with pytest.raises(ConfigurationError, match="TOCSIN_PUSH_TOKEN"):
        api.run(deployment.context("api"))


def test_a_push_to_a_topic_that_is_gone_fails_alone(deployment: Deployment) -> None:
    health = Health("api")
    good = Place(deployment.names.raw("logs", "push"), 0)
    with RawWriter(deployment.settings, name="api", health=health) as writer, ThreadPoolExecutor(8) as pool:
        writes = [pool.submit(writer.write, good, [(b"a", None)]) for _ in range(8)]
        stray = pool.submit(writer.write, Place("nowhere", 0), [(b"x", None)])
        assert "tocsin topics create" in str(stray.exception(90))
        assert all(future.exception(90) is None for future in writes)
    assert texts(deployment, "logs/push/0") == ["a"] * 8


def test_what_the_broker_refuses_does_not_fail_what_shares_its_transaction(deployment: Deployment) -> None:
    place = Place(deployment.names.raw("logs", "push"), 0)
    with RawWriter(deployment.settings, name="api", health=Health("api")) as writer, ThreadPoolExecutor(8) as pool:
        large = pool.submit(writer.write, place, [(os.urandom(3 * 2**20), None)])  # the topic takes 2 MiB
        writes = [pool.submit(writer.write, place, [(b"a", None)]) for _ in range(7)]
        assert "too large" in str(large.exception(90))
        assert all(future.exception(90) is None for future in writes)
    assert texts(deployment, "logs/push/0") == ["a"] * 7


def test_a_writer_that_another_has_fenced_off_begins_anew(deployment: Deployment) -> None:
    settings = set_to(deployment.settings, worker="one")
    place = Place(deployment.names.raw("logs", "push"), 0)
    refused: list[str] = []
    with RawWriter(settings, name="api", health=Health("api")) as writer:
        writer.write(place, [(b"before", None)])
        other = Producer(connection(settings) | {"transactional.id": f"{settings.kafka_prefix}.api-one"})
        other.init_transactions(30)

        def written() -> bool:
            try:
                writer.write(place, [(b"after", None)])
            except JournalUnavailable as error:
                refused.append(str(error))
                return False
            return True

        wait_until(written, "a new producer")
    assert f"another process writes as {settings.kafka_prefix}.api-one; give each its own TOCSIN_WORKER" in refused[0]
    assert texts(deployment, "logs/push/0") == ["before", "after"]


def test_told_to_stop_it_ends_within_ten_seconds(deployment: Deployment, tmp_path: Path) -> None:
    (tmp_path / "streams.toml").write_text('[streams.logs]\nkind = "logs"\ntick = "1m"\nsources = [{ kind = "push" }]')
    settings = deployment.settings
    environment = os.environ | {
        "TOCSIN_KAFKA": str(settings.kafka),
        "TOCSIN_KAFKA_PREFIX": settings.kafka_prefix,
        "TOCSIN_KAFKA_RAW_PARTITIONS": "4",
        "TOCSIN_STREAMS": str(tmp_path / "streams.toml"),
        "TOCSIN_PORT": str(settings.port),
    }
    process = subprocess.Popen([sys.executable, "-m", "pipeline.cli", "run", "api"], env=environment)
    try:
        with reached(settings) as client:
            wait_until(client.is_ready, "the push API")
            assert client.post(b"a").status_code == 202
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


# A broker that goes away: one for this module, since it is killed and frozen.


@pytest.fixture(scope="module")
def broker(kafka_home: KafkaHome) -> Iterator[LocalBroker]:
    with (
        tempfile.TemporaryDirectory(prefix="tocsin-kafka-", ignore_cleanup_errors=True) as folder,
        LocalBroker(Path(folder), kafka_home.libs) as broker,
    ):
        yield broker


@pytest.fixture
def own(broker: LocalBroker, tmp_path: Path) -> Deployment:
    return Deployment(
        Settings(
            data=tmp_path,
            kafka=broker.start(),
            kafka_prefix=f"test-{uuid.uuid4().hex[:12]}",
            kafka_raw_partitions=2,
            port=free_port(),
        )
    )


def test_every_push_that_got_its_202_is_there_once_while_the_broker_is_killed(
    own: Deployment, broker: LocalBroker
) -> None:
    answered: dict[str, str] = {}
    statuses: Counter[int] = Counter()
    stop = threading.Event()

    def push_on(client: Api, sender: int) -> None:
        number = 0
        while not stop.is_set():
            key = f"{sender}-{number}"
            answer = client.post(f"{key} a\n{key} b".encode(), key=key)
            statuses[answer.status_code] += 1
            if answer.status_code == 202:
                answered[key] = answer.json()["partition"]
                number += 1
            else:
                assert answer.headers["retry-after"] == "5"
                stop.wait(0.05)  # far sooner than asked

    with serving(own) as client, ThreadPoolExecutor(6) as pool:
        senders = [pool.submit(push_on, client, sender) for sender in range(6)]
        try:
            for _ in range(2):
                before = len(answered)
                wait_until(lambda before=before: len(answered) > before + 30, "pushes")  # type: ignore[misc]
                broker.kill()
                wait_until(lambda: not client.is_ready(), "readyz to say that Kafka is away")
                assert client.ready().json()["states"]["kafka"] != "ok"
                broker.start()
                wait_until(client.is_ready, "readyz to say that it is back")
        finally:
            stop.set()
        for sender in senders:
            sender.result()
    assert statuses[202] == len(answered) > 60
    assert statuses[503] > 0
    assert set(statuses) == {202, 503}
    found = {clock: Counter(texts(own, clock)) for clock in clocks(own)}
    for key, clock in answered.items():
        assert (found[clock].pop(f"{key} a"), found[clock].pop(f"{key} b")) == (1, 1)
    # At most the push under way of each sender is there beside them.
    rest = [text for left in found.values() for text in left]
    assert len(rest) <= 12


def test_a_commit_that_nobody_answered_is_told_as_open_and_its_repeat_counts_once(
    own: Deployment, broker: LocalBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_transaction, "COMMIT_S", 0.0)
    monkeypatch.setattr(raw_transaction, "WRITE_S", 3.0)
    sent = RawTransaction.send

    def send_then_freeze(self: RawTransaction) -> None:
        sent(self)
        if freeze.is_set():
            os.kill(broker.pid, signal.SIGSTOP)
            wait_until(lambda: psutil.Process(broker.pid).status() == psutil.STATUS_STOPPED, "the broker to stand")

    freeze = threading.Event()
    monkeypatch.setattr(RawTransaction, "send", send_then_freeze)
    metrics, keys = WorkerMetrics(), PushKeys()
    topic = own.names.raw("logs", "push")

    def push(journal: KafkaJournal, text: str, key: str) -> tuple[int, int]:
        return journal.append(
            payloads=[text.encode()], form="line", source="push", received_us=0, ids=[f"{key}:0"], key=key
        )

    with RawWriter(own.settings, name="api", health=Health("api"), metrics=metrics) as writer:
        journal = KafkaJournal(writer, own.names, topic, 0, keys=keys, metrics=metrics)
        push(journal, "before", "k0")
        freeze.set()
        try:
            with pytest.raises(JournalUncertain):
                push(journal, "open", "k1")
        finally:
            freeze.clear()
            os.kill(broker.pid, signal.SIGCONT)

        def repeated() -> bool:
            try:
                push(journal, "open", "k1")
            except JournalError:  # the broker has only just woken
                return False
            return True

        wait_until(repeated, "the repeat to be answered")
    # Nearly always the commit ends late and the repeat stores nothing; else it is stored under the same id.
    fold = IngestFold(Turn(1, adapted(own.names.defined(own.file.streams["logs"]), clock="arrival")), "logs/push/0")

    def read() -> bool:
        try:
            fold.apply(own.raw("logs/push/0"))
        except TocsinError:
            return False
        return True

    wait_until(read, "the broker to know its partitions")
    assert fold.counts.counted == 2
    assert fold.counts.duplicates == fold.counts.items - 2


def test_pushes_while_the_broker_is_away_are_refused_at_once(own: Deployment, broker: LocalBroker) -> None:
    with serving(own) as client:
        broker.kill()
        wait_until(lambda: not client.is_ready(), "readyz to say that Kafka is away")
        began = time.monotonic()
        answer = client.post(b"a", key="k")
        assert time.monotonic() - began < 2
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "nothing was accepted: Kafka does not answer" in answer.json()["detail"]
        broker.start()
        wait_until(client.is_ready, "readyz to say that it is back")
        assert client.post(b"a", key="k").json()["repeated"] is False
    assert sum(texts(own, clock).count("a") for clock in clocks(own)) == 1


def test_it_starts_while_the_broker_is_away_and_takes_pushes_once_it_is_there(
    own: Deployment, broker: LocalBroker
) -> None:
    broker.kill()
    context = own.context("api")
    with running(api.run, context), reached(context.settings) as client:

        def answers() -> bool:
            try:
                return client.ready().status_code == 503
            except httpx.TransportError:
                return False

        wait_until(answers, "the push API")
        broker.start()
        wait_until(client.is_ready, "Kafka")
        assert client.post(json.dumps({"a": 1}).encode()).status_code == 202


def test_a_push_of_a_file_waits_for_a_broker_that_is_away(own: Deployment, broker: LocalBroker) -> None:
    told: list[str] = []
    with RawWriter(own.settings, name="push", health=Health("push")) as writer:
        sink = KafkaSink(writer, own.names, "logs", "push", Patience(told.append))

        def send(number: int) -> None:
            sink.send(Batch([Run("web1", "line", [b"%d" % number], [f"id {number}"])]))

        send(0)
        broker.kill()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(lambda: [send(number) for number in range(1, 4)])
            wait_until(lambda: bool(told), "the push to say what it waits for")
            broker.start()
            waiting.result(150)
    assert len(told) == 1
    assert "Kafka does not answer" in told[0]
    ids = [id for clock in clocks(own) for record in own.raw(clock) for id in record.ids or []]
    assert sorted(set(ids)) == ["id 0", "id 1", "id 2", "id 3"]
