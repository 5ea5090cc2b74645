"""How a stream file comes into force on Kafka: at once, from a tick on, or not at all."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
from confluent_kafka import Producer
from deployed import STREAMS, Deployment, running, wait_until

from pipeline.errors import ConfigurationError
from pipeline.kafka import ingest
from pipeline.kafka.client import producer_config
from pipeline.kafka.clock_states import clock_states
from pipeline.kafka.definitions import Definitions
from pipeline.kafka.ingest_state import KeptState
from pipeline.kafka.readback import end_of
from pipeline.kafka.registry import Registry
from pipeline.records import RawRecord
from pipeline.settings import Settings
from pipeline.stream_file import parse
from pipeline.streams import Turn

CLOCK = "logs/push/0"
SECOND = "logs/second/0"
OTHER = STREAMS.replace('silence = "zero"', 'silence = "gap"')
ANOTHER = STREAMS.replace("lateness", "threshold = 0.75\nlateness")
JOINED = STREAMS + '[[streams.logs.sources]]\nname = "second"\nkind = "push"\n'


def minute(minutes: int) -> int:
    return int(datetime(2024, 5, 6, 0, minutes, tzinfo=UTC).timestamp()) * 1_000_000


def item(minutes: int) -> dict[str, object]:
    return {"time": f"2024-05-06T00:{minutes:02}:30Z", "text": "x", "source": "a"}


@pytest.fixture
def deployment(kafka_settings: Settings) -> Deployment:
    made = Deployment(kafka_settings)
    made.apply()
    return made


def ingested(deployment: Deployment, *clocks: str) -> None:
    """Let ingest come to the end of these clocks."""
    ends = {clock: deployment.raw(clock)[-1].end for clock in clocks}
    with running(ingest.run, deployment.context("ingest")):
        for clock, end in ends.items():
            place = deployment.names.raw_place(clock)
            wait_until(
                lambda place=place, end=end: deployment.covered("ingest", *place) >= end,  # type: ignore[misc]
                f"ingest of {clock}",
            )


def controls(deployment: Deployment, clock: str) -> list[RawRecord]:
    return [record for record in deployment.raw(clock) if record.kind == "define"]


def in_force(deployment: Deployment, clock: str) -> int:
    return clock_states(deployment.cluster, deployment.names)[clock].turn


def test_the_same_file_again_changes_nothing(deployment: Deployment) -> None:
    assert [change.what for change in deployment.apply()] == ["unchanged"]
    assert [turn.number for turn in deployment.registry.turns("logs")] == [1]


def test_what_only_shells_use_is_no_new_definition(deployment: Deployment) -> None:
    [change] = deployment.apply(STREAMS.replace("lateness", 'stall_after = "2h"\nlateness'))
    assert (change.what, change.number) == ("settings", 1)
    assert deployment.registry.turn("logs", 1).definition.stall_after_us == 7_200_000_000


def test_a_change_takes_effect_at_its_tick_in_the_log(deployment: Deployment) -> None:
    deployment.send_items(CLOCK, [item(1)])
    ingested(deployment, CLOCK)
    [change] = deployment.apply(OTHER, minute(10))
    assert (change.what, change.number, change.from_us) == ("changed", 2, minute(10))
    deployment.send_items(CLOCK, [item(5)])
    ingested(deployment, CLOCK)
    assert in_force(deployment, CLOCK) == 1
    deployment.send_items(CLOCK, [item(10), item(9), item(12)])
    ingested(deployment, CLOCK)
    assert in_force(deployment, CLOCK) == 2
    under = [
        (slice.definition_at(signal.time_us).partition(".")[2] or "1", (signal.time_us - minute(0)) // 60_000_000)
        for slice in deployment.slices(deployment.names.signals)
        for signal in slice.signals
    ]
    assert under == [("1", 1), ("1", 5), ("2", 10), ("1", 9), ("2", 12)]


def test_without_a_tick_it_is_the_first_that_no_clock_has_reached(deployment: Deployment) -> None:
    deployment.send_items(CLOCK, [item(7)])
    ingested(deployment, CLOCK)
    [change] = deployment.apply(OTHER)
    assert change.from_us == minute(8)


def test_a_tick_that_items_have_reached_which_nobody_has_read_is_refused(deployment: Deployment) -> None:
    deployment.send_items(CLOCK, [item(7)])
    ingested(deployment, CLOCK)
    deployment.send_items(CLOCK, [item(20), item(19)])
    with pytest.raises(ConfigurationError, match=r"00:20:00.*has begun.*logs/push/0 is at 2024-05-06T00:20:30"):
        deployment.apply(OTHER, minute(20))
    [change] = deployment.apply(OTHER)
    assert change.from_us == minute(21)


def test_before_ingest_has_read_anything_its_clock_is_known_all_the_same(deployment: Deployment) -> None:
    deployment.send_items(CLOCK, [item(7)])
    [change] = deployment.apply(OTHER)
    assert change.from_us == minute(8)


def test_a_tick_that_has_begun_is_refused_and_nothing_is_written(deployment: Deployment) -> None:
    deployment.send_items(CLOCK, [item(7)])
    ingested(deployment, CLOCK)
    with pytest.raises(ConfigurationError, match=r"00:07:00.*has begun.*logs/push/0 is at"):
        deployment.apply(OTHER, minute(7))
    assert [turn.number for turn in deployment.registry.turns("logs")] == [1]
    assert controls(deployment, CLOCK) == []


def test_an_instant_at_which_no_tick_begins_is_refused(deployment: Deployment) -> None:
    with pytest.raises(ConfigurationError, match="no tick of logs begins at"):
        deployment.apply(OTHER, minute(7) + 1)


def test_ticks_of_another_width_begin_where_one_of_the_old_does(deployment: Deployment) -> None:
    deployment.send_items(CLOCK, [item(1)])
    ingested(deployment, CLOCK)
    longer = STREAMS.replace('tick = "1m"', 'tick = "7m"')
    [change] = deployment.apply(longer)
    ticks = parse(longer, "longer").streams["logs"].ticks
    assert ticks.start_us(ticks.index(change.from_us)) == change.from_us > minute(1)
    deployment.send_items(CLOCK, [item(20)])
    ingested(deployment, CLOCK)
    assert in_force(deployment, CLOCK) == 2
    [change] = deployment.apply(STREAMS.replace('tick = "1m"', 'tick = "2m"'))
    assert ticks.start_us(ticks.index(change.from_us)) == change.from_us
    assert change.from_us > minute(20)
    assert change.from_us % 120_000_000 == 0


def test_another_kind_is_refused(deployment: Deployment) -> None:
    with pytest.raises(ConfigurationError, match="is of kind logs, and the file says news"):
        deployment.apply(STREAMS.replace('kind = "logs"', 'kind = "news"'))
    assert [turn.number for turn in deployment.registry.turns("logs")] == [1]


def test_where_items_count_as_they_arrive_a_tick_of_the_past_is_refused(kafka_settings: Settings) -> None:
    live = STREAMS.replace('clock = "data"', 'clock = "arrival"')
    deployment = Deployment(kafka_settings, live)
    deployment.apply()
    with pytest.raises(ConfigurationError, match=r"has begun: the time of day is at"):
        deployment.apply(live.replace('silence = "zero"', 'silence = "gap"'), minute(10), now_us=minute(10))


def test_a_definition_waits_until_the_one_before_has_taken_effect(deployment: Deployment) -> None:
    deployment.send_items(CLOCK, [item(1)])
    ingested(deployment, CLOCK)
    deployment.apply(OTHER, minute(10))
    ingested(deployment, CLOCK)
    with pytest.raises(ConfigurationError, match="definition 2 takes effect at"):
        deployment.apply(ANOTHER, minute(20))


@pytest.mark.parametrize("began", [True, False])
def test_a_second_change_is_refused_while_ingest_has_not_even_read_of_the_first(
    deployment: Deployment, began: bool
) -> None:
    deployment.send_items(CLOCK, [item(1)])
    if began:
        ingested(deployment, CLOCK)
    deployment.apply(OTHER, minute(10))
    for streams in (ANOTHER, STREAMS):  # also back to what is in force
        with pytest.raises(
            ConfigurationError, match=r"definition 2 takes effect at .*logs/push/0 has not come to it yet"
        ):
            deployment.apply(streams, minute(20))
    assert [turn.number for turn in deployment.registry.turns("logs")] == [1, 2]
    assert len(controls(deployment, CLOCK)) == 1
    # Nothing of the refused ones is left: the first takes effect, and then the next may come.
    deployment.send_items(CLOCK, [item(11), item(12)])
    ingested(deployment, CLOCK)
    assert in_force(deployment, CLOCK) == 2
    [change] = deployment.apply(ANOTHER, minute(20))
    assert (change.what, change.number) == ("changed", 3)
    deployment.send_items(CLOCK, [item(21), item(22)])
    ingested(deployment, CLOCK)
    assert in_force(deployment, CLOCK) == 3


def test_the_first_change_applied_again_before_ingest_has_read_it_takes_effect_once(deployment: Deployment) -> None:
    deployment.send_items(CLOCK, [item(1)])
    ingested(deployment, CLOCK)
    for what in ("changed", "unchanged"):
        [change] = deployment.apply(OTHER, minute(10))
        assert (change.what, change.number, change.from_us) == (what, 2, minute(10))
    assert len(controls(deployment, CLOCK)) == 2  # nobody can tell whether the first call died before it announced
    deployment.send_items(CLOCK, [item(11), item(12)])
    ingested(deployment, CLOCK)
    assert in_force(deployment, CLOCK) == 2
    ends = [slice.definition for slice in deployment.slices(deployment.names.signals) if slice.ends]
    assert ends == [deployment.registry.turn("logs", 1).name]
    begins = [s.following.definition for s in deployment.slices(deployment.names.signals) if s.following]
    assert begins == [deployment.registry.turn("logs", 2).name]


def test_an_announcement_that_was_cut_short_is_finished_by_the_next_call(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.send_items(CLOCK, [item(1)])
    ingested(deployment, CLOCK)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.kafka.definitions.Definitions._announce", lambda *a: (_ for _ in ()).throw(OSError()))
        with pytest.raises(OSError):  # noqa: PT011 - the process dies after the registry was written
            deployment.apply(OTHER, minute(10))
    assert controls(deployment, CLOCK) == []
    assert [change.what for change in deployment.apply(OTHER, minute(10))] == ["unchanged"]
    assert len(controls(deployment, CLOCK)) == 1


def test_a_source_without_a_topic_is_refused_and_stands_in_the_way_of_nothing(deployment: Deployment) -> None:
    deployment.send_items(CLOCK, [item(1)])
    ingested(deployment, CLOCK)
    with pytest.raises(ConfigurationError, match="topics create"):
        deployment.apply(JOINED, minute(10))
    assert [change.what for change in deployment.apply(OTHER, minute(10))] == ["changed"]


def test_of_two_that_apply_at_once_one_is_told_and_one_definition_comes(deployment: Deployment) -> None:
    deployment.send_items(CLOCK, [item(1)])
    ingested(deployment, CLOCK)
    [logs] = parse(ANOTHER, "another").streams.values()

    def kept() -> dict[str, KeptState]:
        assert [change.what for change in deployment.apply(OTHER, minute(10))] == ["changed"]
        return clock_states(deployment.cluster, deployment.names)

    slower = Definitions(deployment.settings, Registry(deployment.settings), kept, now_us=lambda: 0)
    with pytest.raises(ConfigurationError, match="somebody else applies"):
        slower.apply(logs, minute(10))
    assert len(controls(deployment, CLOCK)) == 1
    deployment.registry.read_whole()
    assert [turn.number for turn in deployment.registry.turns("logs")] == [1, 2]
    assert deployment.registry.turn("logs", 2).definition.threshold != 0.75


def test_a_definition_is_announced_when_every_worker_can_read_it(deployment: Deployment) -> None:
    config = producer_config(deployment.settings) | {
        "transactional.id": f"{deployment.names.prefix}.killed",
        "delivery.timeout.ms": 30_000,
    }
    killed = Producer(config)  # an ingest that took in the first record of a clock, and died before it committed
    killed.init_transactions(30)
    killed.begin_transaction()
    killed.produce(deployment.names.registry, b"x", key=b"clock/logs/other/0", partition=0)
    killed.flush(30)
    turn = Turn(2, deployment.registry.turn("logs", 1).definition, minute(10))
    end = end_of(deployment.settings, deployment.names.registry, 0)
    writer = threading.Thread(target=deployment.registry.write_turn, args=(turn,))
    writer.start()
    wait_until(lambda: end_of(deployment.settings, deployment.names.registry, 0) > end, "the turn")
    assert not Registry(deployment.settings).announced()("logs", turn)
    assert writer.is_alive()
    killed.abort_transaction(30)
    writer.join(30)
    assert Registry(deployment.settings).announced()("logs", turn)


def test_a_source_that_joins_is_counted_from_its_tick_on_and_waits_for_no_restart(deployment: Deployment) -> None:
    deployment.send_items(CLOCK, [item(1)])
    ingested(deployment, CLOCK)
    joined = Deployment(deployment.settings, JOINED)  # makes the topic of the second source
    [change] = joined.apply(JOINED, minute(10))
    assert change.what == "changed"
    joined.send_items(CLOCK, [item(11), item(12)])
    joined.send_items("logs/second/0", [item(11)])
    ingested(joined, CLOCK, "logs/second/0")
    assert in_force(joined, CLOCK) == in_force(joined, "logs/second/0") == 2
    assert joined.registry.turn("logs", 2).definition.clocks == (CLOCK, "logs/second/0")


@pytest.fixture
def two(kafka_settings: Settings) -> Deployment:
    """A stream with two sources, one of which the stream file has just left out from minute 10 on."""
    made = Deployment(kafka_settings, JOINED)
    made.apply()
    for clock in (CLOCK, SECOND):
        made.send_items(clock, [item(1)])
    ingested(made, CLOCK, SECOND)
    [change] = made.apply(STREAMS, minute(10))
    assert (change.what, change.from_us) == ("changed", minute(10))
    return made


def test_a_source_that_the_file_leaves_out_counts_up_to_its_tick(two: Deployment) -> None:
    two.send_items(SECOND, [item(5), item(9), item(12), item(13)])
    ingested(two, SECOND)
    slices = [slice for slice in two.slices(two.names.signals) if slice.partition == SECOND]
    old, new = (two.registry.turn("logs", number).name for number in (1, 2))
    lates = [(slice.definition, signal.late) for slice in slices for signal in slice.signals]
    # The one of minute 12 ends the old definition's time.
    assert lates[:3] == [(old, False)] * 3
    assert lates[4:] == [(new, True)]
    assert [slice.definition for slice in slices if slice.ends] == [old]
    assert in_force(two, SECOND) == 2


def test_a_source_that_is_left_out_and_sends_no_more_is_let_go_by_a_leave(two: Deployment) -> None:
    two.send_items(CLOCK, [item(12)])
    ingested(two, CLOCK, SECOND)
    assert (in_force(two, CLOCK), in_force(two, SECOND)) == (2, 1)
    two.send(SECOND, [b""], [("tocsin", b"leave")])
    ingested(two, SECOND)
    assert in_force(two, SECOND) == 2


def test_a_topic_that_nobody_has_defined_waits_until_somebody_does(kafka_settings: Settings) -> None:
    deployment = Deployment(kafka_settings)
    deployment.send_items(CLOCK, [item(1)])
    with running(ingest.run, deployment.context("ingest")) as context:
        wait_until(lambda: context.health.states().get("kafka") == "ok", "ingest to run")
        assert deployment.covered("ingest", *deployment.names.raw_place(CLOCK)) == -1
        deployment.apply()
        wait_until(lambda: deployment.covered("ingest", *deployment.names.raw_place(CLOCK)) == 1, "ingest")
