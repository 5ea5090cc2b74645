"""The detector as a fold: restarts, order, splits into buckets, crowds, strangers' bytes."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect.detector import Detector
from pipeline.detect.evidence import DEPTH
from pipeline.detect.forecast import LEARN_TICKS
from pipeline.errors import StateMismatch, UnknownRecord
from pipeline.instants import MINUTE_US, WEEK_US
from pipeline.records import KeyReport
from pipeline.streams import Definition, adapted

Counts = dict[tuple[str, str], tuple[int, int]]
NUMBER = Definition(name="s", kind="logs", tick_us=5 * MINUTE_US)
SHARE = adapted(NUMBER, count="share", seasons=("day",))
KEYS = [(f"g{i % 4}", "" if i < 4 else f"m{i}") for i in range(16)]


def quiet(ticks: int, mean: float = 5.0, seed: int = 0, keys: list[tuple[str, str]] = KEYS) -> list[tuple[int, Counts]]:
    """Ticks of Poisson counts; one in twelve ticks is a gap."""
    draw = np.random.default_rng(seed)
    history = []
    for tick in range(ticks):
        bad, rest = draw.poisson(mean, len(keys)), draw.poisson(3 * mean, len(keys))
        counts = {k: (int(b), int(b + n)) for k, b, n in zip(keys, bad, rest, strict=True) if b + n}
        if tick % 12 != 7:
            history.append((tick, counts))
    return history


def with_burst(history: list[tuple[int, Counts]], first: int, last: int, keys: list[tuple[str, str]]) -> None:
    for tick, counts in history:
        if first <= tick <= last:
            for key in keys:
                bad, total = counts.get(key, (0, 0))
                counts[key] = (bad + 60, total + 60)


def run(definition: Definition, history: list[tuple[int, Counts]], restart: int = -1) -> list[Any]:
    detector, said = Detector(definition), []
    for i, (tick, counts) in enumerate(history):
        if i == restart:
            detector = Detector.from_bytes(definition, detector.to_bytes())
        said.append(detector.close(tick, counts))
    return said


def busy(definition: Definition, seed: int) -> list[tuple[int, Counts]]:
    history = quiet(50, seed=seed)
    with_burst(history, 30, 34, [("g1", ""), ("g1", "m5"), ("g2", "new")])
    return history


@pytest.mark.parametrize("definition", [NUMBER, SHARE])
@given(seed=st.integers(0, 5), restart=st.integers(0, 44))
@settings(max_examples=15)
def test_a_restart_at_any_tick_changes_no_report(definition: Definition, seed: int, restart: int) -> None:
    history = busy(definition, seed)
    assert run(definition, history, restart) == run(definition, history)


@pytest.mark.parametrize("definition", [NUMBER, SHARE, adapted(NUMBER, max_members=2)])
@given(seed=st.integers(0, 5), order=st.randoms(use_true_random=False))
@settings(max_examples=10)
def test_the_order_of_keys_changes_nothing(definition: Definition, seed: int, order: Any) -> None:
    history = busy(definition, seed)
    shuffled = []
    for tick, counts in history:
        items = list(counts.items())
        order.shuffle(items)
        shuffled.append((tick, dict(items)))
    assert run(definition, shuffled) == run(definition, history)


@pytest.mark.parametrize("definition", [NUMBER, SHARE])
@given(seed=st.integers(0, 5), split=st.lists(st.integers(0, 3), min_size=4, max_size=4))
@settings(max_examples=15)
def test_any_split_of_groups_into_buckets_says_the_same(definition: Definition, seed: int, split: list[int]) -> None:
    history = busy(definition, seed)
    whole = run(definition, history)
    parts = [
        run(definition, [(t, {k: v for k, v in c.items() if split[int(k[0][1:])] == bucket}) for t, c in history])
        for bucket in range(4)
    ]
    for tick, (reports, tested) in enumerate(whole):
        assert sum(part[tick][1] for part in parts) == tested
        together = [report for part in parts for report in part[tick][0]]
        assert sorted(together, key=lambda r: (r.group, r.member, r.direction)) == reports


def test_a_burst_five_times_the_usual_is_reported_after_ten_ticks() -> None:
    history = quiet(11, mean=10.0, keys=[("g", "")])
    history[-1][1][("g", "")] = (50, 80)
    *before, (reports, _) = run(NUMBER, history)
    assert not any(r for reports, _ in before for r in reports if not r.learning)
    [report] = reports
    assert (report.observed, report.total, report.direction, report.learning) == (50, 80, "up", False)
    assert report.p < 5e-4
    assert report.high < 50


def test_keys_that_are_learning_are_not_tested() -> None:
    said = run(NUMBER, [(t, {("g", ""): (0, 3)}) for t in range(LEARN_TICKS + 1)])
    assert [tested for _, tested in said] == [0] * LEARN_TICKS + [1]


def test_a_busy_key_gone_silent_is_a_drop_and_a_rare_one_is_not() -> None:
    draw = np.random.default_rng(1)
    history: list[tuple[int, Counts]] = [
        (t, {("busy", ""): (int(draw.poisson(30)), 40), ("rare", ""): (int(t % 20 == 0), 1)}) for t in range(60)
    ]
    history += [(t, {}) for t in range(60, 64)]
    reports = [r for said, _ in run(NUMBER, history)[60:] for r in said]
    assert {(r.group, r.direction) for r in reports} == {("busy", "down")}
    assert reports[0].p < 5e-4


def test_a_tick_that_a_clock_missed_shows_a_rise_but_no_drop_and_teaches_nothing() -> None:
    detector = Detector(NUMBER)
    for tick, counts in quiet(40, mean=20.0, keys=[("a", ""), ("b", "")]):
        detector.close(tick, counts)
    reports, tested = detector.close(40, {("b", ""): (200, 200)}, complete=False)
    assert [(r.group, r.direction) for r in reports] == [("b", "up")]
    assert tested == 1
    again, _ = detector.close(41, {("a", ""): (20, 30), ("b", ""): (20, 30)})
    assert [r.expected for r in again] == [pytest.approx(20, rel=0.2)]


def test_a_share_with_nothing_to_share_is_not_observed() -> None:
    history: list[tuple[int, Counts]] = [(t, {("g", ""): (10, 20)}) for t in range(30)]
    said = run(adapted(SHARE, seasons=()), [*history, *((t, {}) for t in range(30, 40)), (40, {("g", ""): (10, 20)})])
    assert said[35] == ([], 0)
    assert said[-1][1] > 0
    assert said[-1][0] == []


def test_a_report_follows_a_key_down_for_some_ticks() -> None:
    history: list[tuple[int, Counts]] = [(t, {("g", ""): (10, 20)}) for t in range(40)]
    history[30][1][("g", "")] = (100, 110)
    ticks = [tick for tick, (reports, _) in enumerate(run(NUMBER, history)) if reports and tick >= LEARN_TICKS]
    assert ticks == [30, 31, 32, 33]


def test_the_series_is_the_last_ticks_oldest_first_this_one_last() -> None:
    history: list[tuple[int, Counts]] = [(t, {("g", ""): (10, 20 + t)}) for t in range(40)]
    history[39][1][("g", "")] = (100, 110)
    [report] = run(NUMBER, history)[39][0]
    assert [entry[:3] for entry in report.series] == [(t, 10, 20 + t) for t in range(40 - DEPTH, 39)] + [(39, 100, 110)]
    assert report.series[-1][3] == report.expected


def test_the_least_used_members_of_a_crowded_group_are_counted_as_other() -> None:
    definition = adapted(NUMBER, max_members=3)
    detector = Detector(definition)
    for tick in range(20):
        detector.close(tick, {("g", ""): (6, 60), ("g", "a"): (1, 30), ("g", "b"): (2, 20), ("g", "c"): (3, 10)})
    crowd: Counts = {("g", f"x{i}"): (50, 50) for i in range(5)}
    reports, _ = detector.close(20, {("g", ""): (256, 310), ("g", "a"): (1, 30), ("g", "b"): (2, 20), **crowd})
    by_member = {r.member: r.observed for r in reports}
    assert by_member[""] == 256
    assert by_member["other"] == 250


def test_keys_that_are_long_dead_are_forgotten() -> None:
    detector = Detector(NUMBER)
    for i in range(300):
        detector.close(i, {("all", ""): (1, 5), (f"short-lived {i}", ""): (1, 5)})
    grown = len(detector.to_bytes())
    for tick in range(300, 1100):
        detector.close(tick, {("all", ""): (1, 5)})
    assert len(detector.to_bytes()) < grown / 100


@pytest.mark.parametrize("definition", [SHARE, Definition(name="w", kind="health", tick_us=WEEK_US, seasons=("year",))])
def test_a_key_with_two_harmonics_takes_at_most_400_bytes_beside_its_evidence(definition: Definition) -> None:
    detector = Detector(definition)
    detector.close(0, {(f"{i}", ""): (1, 2) for i in range(1000)})
    assert len(detector.to_bytes()) / 1000 < 400 + 24 * DEPTH + 8


def test_hostile_counts_break_nothing() -> None:
    detector = Detector(SHARE)
    for tick, count in enumerate([0, 2**50, 0, 1, 2**52, 0, 0, 3, 2**50, 1, 0, 2**52]):
        reports, _ = detector.close(tick * 10**5, {("\u202e", ""): (count, count + 1), ("", "x\0"): (0, 1)})
        for report in reports:
            assert all(np.isfinite([report.expected, report.low, report.high, report.p, report.z]))
            assert 0 < report.p <= 1


def test_time_does_not_run_backwards() -> None:
    detector = Detector(NUMBER)
    detector.close(5, {})
    with pytest.raises(ValueError, match="tick 5 closes after tick 5"):
        detector.close(5, {})


def test_a_restored_detector_goes_on_from_its_last_tick() -> None:
    detector = Detector(NUMBER)
    for tick, counts in quiet(10):
        detector.close(tick, counts)
    restored = Detector.from_bytes(NUMBER, detector.to_bytes())
    for one in (detector, restored):
        one.close(30, {("g1", ""): (4, 4)})
    assert restored.to_bytes() == detector.to_bytes()
    with pytest.raises(ValueError, match="tick 30 closes after tick 30"):
        restored.close(30, {})


def test_state_of_another_definition_is_refused() -> None:
    with pytest.raises(StateMismatch):
        Detector.from_bytes(SHARE, Detector(NUMBER).to_bytes())


@given(
    st.one_of(
        st.binary(max_size=80),
        st.recursive(st.none() | st.integers(-9, 2**60) | st.binary() | st.text(), st.lists).map(
            msgspec.msgpack.encode
        ),
    )
)
@settings(max_examples=60)
def test_strangers_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(UnknownRecord):
        Detector.from_bytes(NUMBER, data)


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_torn_bytes_are_refused(cut: int) -> None:
    detector = Detector(NUMBER)
    detector.close(0, {("g", ""): (1, 1)})
    with pytest.raises(UnknownRecord):
        Detector.from_bytes(NUMBER, detector.to_bytes()[:-cut])


def test_reports_are_sorted() -> None:
    history = busy(NUMBER, 0)
    for reports, _ in run(NUMBER, history):
        assert reports == sorted(reports, key=lambda r: (r.group, r.member, r.direction))
        assert all(isinstance(report, KeyReport) for report in reports)
