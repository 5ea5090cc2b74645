"""Topics on a real broker: made once, looked at, and never changed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from pipeline.cli.main import main
from pipeline.errors import BrokerUnavailable, ConfigurationError, TocsinError
from pipeline.kafka.names import Names
from pipeline.kafka.topic_admin import TopicAdmin
from pipeline.settings import Settings
from pipeline.stream_file import StreamFile, parse

STREAMS = """
[streams.logs]
kind = "logs"
tick = "1m"
sources = [{ kind = "push", name = "web" }, { kind = "push", name = "mail" }]
"""


@pytest.fixture
def admin(kafka_settings: Settings) -> TopicAdmin:
    return TopicAdmin(kafka_settings, parse(STREAMS, "test").streams.values())


def wrong(admin: TopicAdmin) -> dict[str, list[str]]:
    return {name: [str(d) for d in found] for name, found in admin.check().items() if found}


def test_topics_are_made_as_they_are_wanted(admin: TopicAdmin) -> None:
    assert set(admin.create()) == {topic.name for topic in admin.topics}
    assert wrong(admin) == {}


def test_making_them_again_makes_nothing(admin: TopicAdmin) -> None:
    admin.create()
    assert admin.create() == []


def test_two_that_make_them_at_once_both_find_them_made(kafka_settings: Settings) -> None:
    definitions = parse(STREAMS, "test").streams.values()
    admins = [TopicAdmin(kafka_settings, definitions) for _ in range(2)]
    with ThreadPoolExecutor() as threads:
        made = [name for names in threads.map(TopicAdmin.create, admins) for name in names]
    assert sorted(made) == sorted(topic.name for topic in admins[0].topics)
    assert wrong(admins[1]) == {}


def test_only_what_is_missing_is_made_and_what_is_there_stays_as_it_is(
    admin: TopicAdmin, kafka_settings: Settings, kafka: str
) -> None:
    names = Names.of(kafka_settings)
    broker = AdminClient({"bootstrap.servers": kafka})
    broker.create_topics([NewTopic(names.tallies, 3, 1)])[names.tallies].result()
    assert names.tallies not in admin.create()
    found = wrong(admin)
    assert set(found) == {names.tallies}
    assert found[names.tallies][0] == (
        f"{names.tallies}: partitions: 3 where 2 are wanted; these numbers are fixed when a deployment is made: set "
        "TOCSIN_BUCKETS to 3, or begin a new deployment under another TOCSIN_KAFKA_PREFIX"
    )


def test_a_setting_that_somebody_changed_is_named_with_what_to_do(
    admin: TopicAdmin, kafka_settings: Settings, kafka: str
) -> None:
    admin.create()
    raw = Names.of(kafka_settings).raw("logs", "web")
    changed = ConfigEntry("message.timestamp.type", "CreateTime", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource("topic", raw, incremental_configs=[changed])
    broker = AdminClient({"bootstrap.servers": kafka})
    broker.incremental_alter_configs([resource])[resource].result()
    deadline = time.monotonic() + 10  # a broker learns of a change a moment after it was confirmed
    while not (found := wrong(admin)) and time.monotonic() < deadline:
        pass
    assert found == {
        raw: [
            f"{raw}: message.timestamp.type is CreateTime where LogAppendTime is wanted; set it: kafka-configs.sh "
            f"--alter --entity-type topics --entity-name {raw} --add-config message.timestamp.type=LogAppendTime"
        ]
    }


def test_the_broker_dates_raw_records_and_takes_items_of_a_mebibyte(
    make_topics: Callable[[str], StreamFile], kafka_settings: Settings
) -> None:
    make_topics(STREAMS)
    dated: list[tuple[int, int]] = []
    producer = Producer({"bootstrap.servers": kafka_settings.kafka, "message.max.bytes": 3 * 2**20})

    def delivered(error: object, message: object) -> None:
        assert error is None
        dated.append(message.timestamp())  # type: ignore[attr-defined]

    producer.produce(Names.of(kafka_settings).raw("logs", "mail"), b"x" * 2**20, timestamp=1_000, on_delivery=delivered)
    assert producer.flush(10) == 0
    [(kind, time_ms)] = dated
    assert (kind, time_ms > 1_000) == (2, True)  # 2: the time at which the broker appended it


def test_more_replicas_than_brokers_is_an_error_that_says_so(kafka_settings: Settings) -> None:
    settings = kafka_settings.model_copy(update={"kafka_replication": 3})
    with pytest.raises(TocsinError, match=r"creating the topic .*replication factor of 3"):
        TopicAdmin(settings, parse(STREAMS, "test").streams.values()).create()


def test_a_broker_that_is_away_is_one_clear_error_in_time(
    kafka_settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipeline.kafka.topic_admin.CALL_S", 1.0)
    settings = kafka_settings.model_copy(update={"kafka": "127.0.0.1:1"})
    admin = TopicAdmin(settings, [])
    begin = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=r"does not answer at 127\.0\.0\.1:1 .*refused.*set TOCSIN_KAFKA"):
        admin.create()
    assert time.monotonic() - begin < 5
    assert capfd.readouterr().err == ""  # the client's own complaints are not shown beside it


def test_without_a_broker_configured_the_error_names_the_setting() -> None:
    with pytest.raises(ConfigurationError, match="set TOCSIN_KAFKA"):
        TopicAdmin(Settings(), [])


@pytest.fixture
def tocsin(
    kafka_settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command under the settings of the test: exit code, standard output, standard error."""
    monkeypatch.setenv("TOCSIN_KAFKA", str(kafka_settings.kafka))
    monkeypatch.setenv("TOCSIN_KAFKA_PREFIX", kafka_settings.kafka_prefix)
    monkeypatch.setenv("TOCSIN_BUCKETS", "2")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["tocsin", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return (int(ended.value.code or 0), *capfd.readouterr())

    return run


def test_the_command_makes_them_and_then_finds_nothing_wrong(tocsin: Callable[..., tuple[int, str, str]]) -> None:
    code, output, _ = tocsin("topics", "check", "--json")
    lines = [json.loads(line) for line in output.splitlines()]
    assert code == 1
    assert {line["differences"][0]["advice"] for line in lines} == {"run `tocsin topics create`"}
    code, output, said = tocsin("topics", "create", "--json")
    assert code == 0, said
    assert all(line["made"] and line["ok"] for line in map(json.loads, output.splitlines()))
    code, output, said = tocsin("topics", "check")
    assert (code, said) == (0, f"all {len(lines)} topics are as they must be\n")
    assert all(line.startswith("ok ") for line in output.splitlines())


def test_the_command_fails_where_numbers_were_changed_after_the_deployment_was_made(
    tocsin: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tocsin("topics", "create")[0] == 0
    monkeypatch.setenv("TOCSIN_BUCKETS", "5")
    code, output, said = tocsin("topics", "create")
    assert code == 1
    assert output.count("set TOCSIN_BUCKETS to 2, or begin a new deployment") == 4
    assert "4 of 13 topics are not as they must be" in said
