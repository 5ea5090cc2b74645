"""Which topics a deployment must have, and what is said of those that are not so."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigurationError
from pipeline.ingest.item import MAX_ITEM_BYTES
from pipeline.kafka import client
from pipeline.kafka.topics import MAX_MESSAGE_BYTES, MAX_RAW_BYTES, Found, Topic, differences, wanted_topics
from pipeline.settings import Settings
from pipeline.stream_file import parse

DAY_MS = 24 * 3600 * 1000
STREAMS = """
[streams.logs]
kind = "logs"
tick = "1m"
sources = [{ kind = "push", name = "web" }, { kind = "push", name = "mail" }]
[streams.news]
kind = "news"
tick = "5m"
sources = [{ kind = "push", name = "wire" }]
"""


def wanted(text: str = STREAMS, **changes: object) -> dict[str, Topic]:
    made = {"kafka_prefix": "t", "kafka_raw_partitions": 3, "kafka_signal_partitions": 5, "buckets": 7} | changes
    topics = wanted_topics(Settings(**made), parse(text, "test").streams.values())  # type: ignore[arg-type]
    return {topic.name: topic for topic in topics}


def test_each_topic_has_the_partitions_that_its_setting_says() -> None:
    assert {name: topic.partitions for name, topic in wanted().items()} == {
        "t.raw.logs.web": 3,
        "t.raw.logs.mail": 3,
        "t.raw.news.wire": 3,
        "t.signals": 5,
        "t.scores": 5,
        "t.dead": 5,
        "t.surges": 5,
        "t.tallies": 7,
        "t.verdicts": 7,
        "t.aggregate-buckets-changelog": 7,
        "t.aggregate-judges-changelog": 7,
        "t.registry": 1,
    }


def test_raw_and_derived_records_are_kept_for_raw_retention_and_scores_for_history() -> None:
    topics = wanted(raw_retention_days=2, history_days=400)
    kept = {name: int(topic.config["retention.ms"]) for name, topic in topics.items() if "retention.ms" in topic.config}
    assert kept.pop("t.scores") == 400 * DAY_MS
    assert set(kept.values()) == {2 * DAY_MS}
    assert all(topic.config["cleanup.policy"] == "compact" for name, topic in topics.items() if name not in kept
               and name != "t.scores")  # fmt: skip


@pytest.mark.parametrize("days", [0.001, 0.5, 3, 30, 3650])
def test_what_has_come_of_age_goes_within_a_day_and_a_tenth_of_its_time(days: float) -> None:
    config = wanted(raw_retention_days=days)["t.raw.logs.web"].config
    beyond = int(config["segment.ms"])
    assert 60_000 <= beyond <= max(60_000, min(DAY_MS, int(config["retention.ms"]) // 10))


def test_a_raw_record_is_dated_by_the_broker_and_a_derived_one_by_its_writer() -> None:
    dated = {name for name, topic in wanted().items() if "message.timestamp.type" in topic.config}
    assert dated == {"t.raw.logs.web", "t.raw.logs.mail", "t.raw.news.wire"}


def test_topics_take_as_much_as_clients_send() -> None:
    sizes = {name: int(topic.config["max.message.bytes"]) for name, topic in wanted().items()}
    assert {size for name, size in sizes.items() if ".raw." in name} == {MAX_RAW_BYTES}
    assert {size for name, size in sizes.items() if ".raw." not in name} == {client.MAX_MESSAGE_BYTES}
    assert MAX_ITEM_BYTES < MAX_RAW_BYTES < MAX_MESSAGE_BYTES


@pytest.mark.parametrize(("replicas", "in_sync"), [(1, "1"), (2, "1"), (3, "2"), (5, "2")])
def test_a_confirmed_record_is_on_two_brokers_where_one_of_three_may_be_away(replicas: int, in_sync: str) -> None:
    for topic in wanted(kafka_replication=replicas).values():
        assert (topic.replication, topic.config["min.insync.replicas"]) == (replicas, in_sync)
        assert topic.config.get("unclean.leader.election.enable") == (None if replicas == 1 else "false")


def test_sources_that_kafka_cannot_tell_apart_are_refused() -> None:
    text = """
    [streams.a_b]
    kind = "logs"
    tick = "1m"
    sources = [{ kind = "push", name = "c" }]
    [streams.a]
    kind = "logs"
    tick = "1m"
    sources = [{ kind = "push", name = "b_c" }]
    """
    with pytest.raises(ConfigurationError, match=r"t\.raw\.a_b\.c and t\.raw\.a\.b_c apart.*rename a source"):
        wanted(text)


TOPIC = Topic("t.tallies", 7, 3, {"compression.type": "zstd", "min.cleanable.dirty.ratio": "0.1"}, "TOCSIN_BUCKETS")


def found(**changes: object) -> Found:
    is_now = {"partitions": 7, "replication": 3, "config": {**TOPIC.config, "flush.ms": "9"}} | changes
    return Found(**is_now)  # type: ignore[arg-type]


def test_a_topic_as_it_must_be_has_no_difference() -> None:
    assert differences(TOPIC, found()) == []
    assert differences(TOPIC, found(replication=4)) == []
    written = {"compression.type": "zstd", "min.cleanable.dirty.ratio": "0.10"}
    assert differences(TOPIC, found(config=written)) == []


@pytest.mark.parametrize(
    ("is_now", "said"),
    [
        (None, "t.tallies: is missing; run `tocsin topics create`"),
        (
            found(partitions=4),
            "t.tallies: partitions: 4 where 7 are wanted; these numbers are fixed when a deployment is made: set "
            "TOCSIN_BUCKETS to 4, or begin a new deployment under another TOCSIN_KAFKA_PREFIX",
        ),
        (
            found(replication=1),
            "t.tallies: replicas: 1 where 3 are wanted; add some with kafka-reassign-partitions.sh, or set "
            "TOCSIN_KAFKA_REPLICATION to 1",
        ),
        (
            found(config={"compression.type": "producer", "min.cleanable.dirty.ratio": "0.1"}),
            "t.tallies: compression.type is producer where zstd is wanted; set it: kafka-configs.sh --alter "
            "--entity-type topics --entity-name t.tallies --add-config compression.type=zstd",
        ),
        (
            found(config={"compression.type": "zstd"}),
            "t.tallies: min.cleanable.dirty.ratio is not known to this broker where 0.1 is wanted; set it: "
            "kafka-configs.sh --alter --entity-type topics --entity-name t.tallies --add-config "
            "min.cleanable.dirty.ratio=0.1",
        ),
    ],
)
def test_each_difference_is_one_line_with_what_to_do(is_now: Found | None, said: str) -> None:
    assert [str(difference) for difference in differences(TOPIC, is_now)] == [said]
