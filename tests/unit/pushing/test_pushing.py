"""A push: what reaches the sink, in which batches, when."""

from __future__ import annotations

import pytest

from pipeline.pushing import push as pushing
from pipeline.pushing.batch import Batch, Run
from pipeline.pushing.pace import AtOnce, AtRate, AtSpeed
from pipeline.pushing.push import Push


class Sink:
    """Takes everything, and says that one in ten was there already."""

    where = "here"

    def __init__(self) -> None:
        self.batches: list[list[tuple[str, list[bytes]]]] = []

    def send(self, batch: Batch) -> int:
        self.batches.append([(run.source, run.payloads) for run in batch.runs])
        return batch.items // 10

    def heartbeat(self, time_us: int) -> None:
        raise AssertionError("nobody asked for one")


def run(source: str, first: int, count: int, time_us: int | None = None, note: str = "") -> Run:
    numbers = range(first, first + count)
    return Run(source, "line", [b"%d" % n for n in numbers], [str(n) for n in numbers], note, time_us)


def pushed(*runs: Run, skip: int = 0) -> tuple[Sink, Push]:
    sink = Sink()
    work = Push(sink, AtOnce(), skip=skip)
    work.run(runs, lambda: None)
    return sink, work


def test_runs_of_one_sender_are_joined_and_broken_items_stand_alone() -> None:
    sink, work = pushed(run("a", 0, 2), run("a", 2, 1), run("b", 3, 1), run("b", 4, 1, note="torn"), run("b", 5, 1))
    assert sink.batches == [[("a", [b"0", b"1", b"2"]), ("b", [b"3"]), ("b", [b"4"]), ("b", [b"5"])]]
    assert work.items == 6


def test_batches_are_bounded_in_items_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushing, "BATCH_ITEMS", 4)
    sink, work = pushed(*(run("a", n, 2) for n in range(0, 10, 2)))
    assert [len(batch[0][1]) for batch in sink.batches] == [4, 4, 2]
    assert (work.items, work.repeated) == (10, 0)
    small = Push(sink := Sink(), AtOnce(), batch_bytes=3)
    small.run([run("a", n, 1) for n in range(7)], lambda: None)
    assert [len(batch[0][1]) for batch in sink.batches] == [3, 3, 1]


def test_what_is_skipped_is_not_sent() -> None:
    sink, work = pushed(run("a", 0, 2), run("a", 2, 3), run("a", 5, 1), skip=3)
    assert sink.batches == [[("a", [b"3", b"4", b"5"])]]
    assert (work.items, work.skipped) == (3, 3)
    assert pushed(run("a", 0, 2), skip=5)[0].batches == []


def test_at_a_rate_items_are_due_evenly() -> None:
    pace = AtRate(100)
    assert [pace.due_s(run("a", 0, 50)) for _ in range(4)] == [0, 0.5, 1.0, 1.5]


def test_at_a_speed_items_are_due_as_they_happened_only_faster() -> None:
    pace = AtSpeed(60)
    assert pace.due_s(run("a", 0, 1)) == 0
    dues = [pace.due_s(run("a", 0, 1, time_us=t * 1_000_000)) for t in (1000, 1060, 1030, 4600)]
    assert dues == [0, 1, 0.5, 60]


def test_what_is_due_later_waits_and_what_was_due_before_does_not_wait_for_it() -> None:
    sink = Sink()
    waited: list[int] = []
    Push(sink, AtSpeed(1)).run(
        [run("a", 0, 1, 0), run("a", 1, 1, 0), run("a", 2, 1, 30_000)], lambda: waited.append(len(sink.batches))
    )
    assert sink.batches == [[("a", [b"0", b"1"])], [("a", [b"2"])]]
    assert 1 in waited
