"""Where partitions are read on from, while others read and store, and this process may be frozen at any line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar, cast

import pytest
from sqlalchemy import Engine

from alerts import consumed
from alerts.consumed import Consumed, Move
from alerts.store import transaction
from pipeline.errors import LogLost
from pipeline.kafka.cluster import Cluster, TopicFacts
from pipeline.kafka.placement import Placement
from pipeline.kafka.step import Place

PLACE = Place("t.surges", 0)
ID = "the-topic"

A, B = TypeVar("A"), TypeVar("B")


class GrowingLog:
    """One partition, in place of a broker: `between` happens once, after the question that it names was answered."""

    def __init__(self) -> None:
        self.start, self.end = 0, 0
        self.between: dict[str, Callable[[], None]] = {}

    def id(self) -> str:
        return "cluster"

    def topics(self, names: Iterable[str]) -> dict[str, TopicFacts]:
        return self._answered("topics", {name: TopicFacts(ID, 1) for name in names})

    def starts(self, places: Iterable[Place]) -> dict[Place, int]:
        return self._answered("starts", dict.fromkeys(places, self.start))

    def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        return self._answered("ends", dict.fromkeys(places, self.end))

    def _answered(self, question: str, answer: dict[A, B]) -> dict[A, B]:
        self.between.pop(question, lambda: None)()
        return answer


@pytest.fixture
def kafka() -> GrowingLog:
    return GrowingLog()


@pytest.fixture
def placement(engine: Engine, kafka: GrowingLog) -> Placement:
    return Placement(engine, cast("Cluster", kafka), "t.")


def stored(engine: Engine, start: int, end: int) -> None:
    """What another dispatcher does."""
    with transaction(engine) as connection:
        consumed.positions(connection, {PLACE: ID})
        assert consumed.move(connection, [Move(PLACE, ID, start, end)])


@pytest.mark.parametrize("question", ["topics", "starts", "ends"])
def test_what_another_stores_while_this_one_asks_is_no_lost_log(
    placement: Placement, kafka: GrowingLog, engine: Engine, question: str
) -> None:
    def others_go_on() -> None:
        kafka.end = 71
        stored(engine, 0, 71)
        kafka.start = 70

    kafka.end = 62
    kafka.between[question] = others_go_on
    position = 0 if question == "ends" else 71
    assert placement.of([PLACE]) == {PLACE: Consumed(ID, position)}


def test_a_position_outside_of_the_log_is_an_error(placement: Placement, kafka: GrowingLog, engine: Engine) -> None:
    kafka.end = 9
    stored(engine, 0, 5)
    assert placement.of([PLACE]) == {PLACE: Consumed(ID, 5)}
    kafka.end = 4
    with pytest.raises(LogLost, match="the log ends at 4, and was stored up to 5"):
        placement.of([PLACE])
    kafka.start, kafka.end = 6, 9
    with pytest.raises(LogLost, match="the log begins at 6, and the 1 positions from 5 on were never stored"):
        placement.of([PLACE])
