"""Turns: threads share an engine that takes one call at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence

import pytest

from pipeline.errors import ModelError
from pipeline.scoring.engine import Score, Tokens
from pipeline.scoring.null_engine import NullEngine
from pipeline.scoring.turns import TOGETHER, EngineInTurns


class Held(NullEngine):
    """An engine that holds its first call until it is let go, and remembers who called in which order."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()
        self.order: list[int] = []
        self.inside = 0

    def score(self, batch: Sequence[Tokens]) -> list[Score]:
        self.inside += 1
        assert self.inside == 1
        self.entered.set()
        assert self.let_go.wait(10)
        self.order.append(batch[0][0])
        self.inside -= 1
        return super().score(batch)


def test_calls_are_answered_in_the_order_in_which_they_came_one_at_a_time() -> None:
    engine = Held()
    turns = EngineInTurns(engine)
    threads = []
    for number in range(5):
        thread = threading.Thread(target=turns.score, args=([(number,)],))
        thread.start()
        threads.append(thread)
        assert engine.entered.wait(10)
        while turns._given <= number:
            pass
    engine.let_go.set()
    for thread in threads:
        thread.join(10)
    assert engine.order == [0, 1, 2, 3, 4]


def test_who_has_a_backlog_lets_others_in_between() -> None:
    engine = Held()
    turns = EngineInTurns(engine)
    other = threading.Thread(target=turns.score, args=([(99,)],))
    backlog = threading.Thread(target=lambda: [turns.score([(n,)]) for n in range(3)])
    backlog.start()
    assert engine.entered.wait(10)
    other.start()
    while turns._given < 2:
        pass
    engine.let_go.set()
    backlog.join(10)
    other.join(10)
    assert engine.order == [0, 99, 1, 2]


def test_a_call_that_fails_ends_its_turn() -> None:
    class Failing(NullEngine):
        def score(self, batch: Sequence[Tokens]) -> list[Score]:
            raise ModelError("the device is gone")

    turns = EngineInTurns(Failing())
    for _ in range(2):
        with pytest.raises(ModelError, match="gone"):
            turns.score([(1,)])
    assert turns.encode(["a"], "news") == NullEngine().encode(["a"], "news")
    assert (turns.name, turns.precision, turns.version) == ("null", "exact", "null-1")


def test_batches_of_one_call_are_scored_some_in_a_turn_and_in_order() -> None:
    together: list[int] = []

    class Counting(NullEngine):
        def score_each(self, batches: Iterable[Sequence[Tokens]]) -> Iterator[list[Score]]:
            some = list(batches)
            together.append(len(some))
            return super().score_each(some)

    batches = [[(n,)] for n in range(2 * TOGETHER + 1)]
    found = list(EngineInTurns(Counting()).score_each(iter(batches)))
    assert found == [NullEngine().score(batch) for batch in batches]
    assert together == [TOGETHER, TOGETHER, 1]
