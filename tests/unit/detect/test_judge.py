"""The judge: the life of a surge, and that buckets and interleavings play no part."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect.detector import Detector
from pipeline.detect.digest import digest
from pipeline.detect.judge import Judge
from pipeline.errors import RangeGap, StateMismatch, UnknownRecord
from pipeline.instants import MINUTE_US
from pipeline.records import KeyReport, Transition, Verdict
from pipeline.streams import Definition, adapted

STREAM = Definition(name="s", kind="logs", tick_us=5 * MINUTE_US)


def report(
    group: str = "g", member: str = "", p: float = 1e-9, observed: int = 50, high: float = 12.0, **more: Any
) -> KeyReport:
    return KeyReport(
        group=group, member=member, observed=observed, total=100, expected=more.pop("expected", 5.123456789),
        low=more.pop("low", 1.0), high=high, p=p, z=5.0, chart=3.0, direction=more.pop("direction", "up"),
        learning=more.pop("learning", False), **more,
    )  # fmt: skip


def verdict(
    tick: int, *reports: KeyReport, bucket: int = 0, last: int | None = None, gap: bool = False, tested: int = 10
) -> Verdict:
    return Verdict("s", STREAM.version, bucket, tick, last or tick, gap, tested, list(reports))


def states(judge: Judge, *verdicts: Verdict) -> list[tuple[int, str]]:
    return [(t.tick, t.state) for v in verdicts for t in judge.apply(v)]


def small(tick: int, **more: Any) -> Verdict:
    """A tick in which the group is reported, back within its interval."""
    return verdict(tick, report(p=0.5, observed=5, **more))


def test_a_surge_opens_and_is_resolved_after_calm_ticks() -> None:
    judge = Judge(STREAM, "r", 1)
    assert states(judge, verdict(1), verdict(2, report())) == [(2, "opened")]
    assert states(judge, verdict(3, report()), small(4), small(5), small(6)) == [(6, "resolved")]
    assert states(judge, small(7), small(8)) == []


def test_a_tick_that_is_not_alarmed_but_still_beyond_its_interval_is_not_calm() -> None:
    judge = Judge(STREAM, "r", 1)
    high = [verdict(tick, report(p=0.04, observed=13)) for tick in (4, 5)]
    assert states(judge, verdict(2, report()), small(3), *high, small(6), small(7), small(8)) == [
        (2, "opened"),
        (8, "resolved"),
    ]


def test_gaps_neither_resolve_nor_open() -> None:
    judge = Judge(adapted(STREAM, pending_ticks=2), "r", 1)
    of = adapted(STREAM, pending_ticks=2).version

    def under(v: Verdict) -> Verdict:
        return Verdict("s", of, 0, v.first_tick, v.last_tick, v.gap, v.tested, v.reports)

    said = states(judge, *map(under, [verdict(1, report()), verdict(2, last=9, gap=True), verdict(10, report())]))
    assert said == [(10, "opened")]
    assert states(judge, under(verdict(11, last=50, gap=True))) == []
    assert states(judge, *map(under, [small(51), small(52), verdict(53, last=99, gap=True), small(100)])) == [
        (100, "resolved")
    ]


def test_a_surge_waits_until_it_has_been_alarmed_for_its_pending_ticks_in_a_row() -> None:
    definition = adapted(STREAM, pending_ticks=3)
    judge = Judge(definition, "r", 1)
    alarmed = {1, 2, 4, 5, 6}
    said = []
    for tick in range(1, 8):
        reports = [report()] if tick in alarmed else []
        v = Verdict("s", definition.version, 0, tick, tick, False, 10, reports)
        said += [(t.tick, t.state) for t in judge.apply(v)]
    assert said == [(6, "opened")]


def test_members_join_the_surge_of_their_group_and_never_open_another() -> None:
    judge = Judge(STREAM, "r", 1)
    [opened] = judge.apply(verdict(1, report(member="a", observed=40)))
    assert (opened.group, opened.state, opened.observed) == ("g", "opened", 40)
    assert [m.member for m in opened.members] == ["a"]
    assert judge.apply(verdict(2, report(member="a", observed=41))) == []
    [grew] = judge.apply(verdict(3, report(member="a"), report(member="b", p=1e-12)))
    assert (grew.id, grew.state, grew.sequence) == (opened.id, "grew", 2)
    assert [m.member for m in grew.members] == ["b", "a"]


def test_a_group_that_rises_after_its_member_takes_the_surge_over() -> None:
    judge = Judge(STREAM, "r", 1)
    judge.apply(verdict(1, report(member="a")))
    assert judge.apply(verdict(2, report(observed=51), report(member="a"))) == []
    member_out = [verdict(t, report(p=0.5, observed=5), report(member="a", p=0.04, observed=13)) for t in (3, 4, 5)]
    [resolved] = [t for v in member_out for t in judge.apply(v)]
    assert (resolved.state, resolved.tick, resolved.observed) == ("resolved", 5, 5)


def test_a_learning_key_opens_nothing_alone_and_joins_what_is_open() -> None:
    judge = Judge(STREAM, "r", 1)
    assert judge.apply(verdict(1, report(learning=True), report(member="a", learning=True))) == []
    [opened] = judge.apply(verdict(2, report(p=1e-9), report(member="new", p=1e-20, learning=True)))
    assert [m.member for m in opened.members] == ["new"]


def test_a_surge_grows_when_its_severity_rises_and_not_every_tick() -> None:
    judge = Judge(STREAM, "r", 1)
    counts = [14, 15, 20, 19, 21, 40, 41]
    said = [t for i, n in enumerate(counts) for t in judge.apply(verdict(i, report(observed=n)))]
    assert [(t.tick, t.state, t.severity) for t in said] == [
        (0, "opened", "info"),
        (2, "grew", "warning"),
        (5, "grew", "critical"),
    ]


def test_rises_and_drops_of_a_group_are_surges_of_their_own() -> None:
    judge = Judge(STREAM, "r", 1)
    down = report(direction="down", observed=0, low=40.0, high=80.0, expected=60.0)
    said = judge.apply(verdict(1, report(member="a"), down))
    assert [(t.direction, t.severity) for t in said] == [("down", "critical"), ("up", "critical")]
    assert said[0].id != said[1].id


def test_one_weak_p_value_among_many_tests_is_no_alarm() -> None:
    judge = Judge(STREAM, "r", 1)
    weak = report(p=1e-5)
    assert judge.apply(verdict(1, weak, tested=10_000)) == []
    assert judge.apply(verdict(2, weak, tested=1)) != []


def test_a_flapping_group_must_stay_calm_longer_each_time() -> None:
    judge = Judge(STREAM, "r", 1)
    resolved = []
    for tick in range(60):
        alarmed = tick % 8 == 0
        resolved += [
            t.tick for t in judge.apply(verdict(tick, report()) if alarmed else small(tick)) if t.state == "resolved"
        ]
    assert resolved == [3, 14]


def test_a_resolved_surge_shows_the_counts_that_were_last_reported() -> None:
    judge = Judge(STREAM, "r", 1)
    judge.apply(verdict(1, report()))
    for v in (small(2), verdict(3)):
        judge.apply(v)
    [resolved] = judge.apply(verdict(4))
    assert (resolved.observed, resolved.p) == (5, 0.5)


def test_the_evidence_is_the_groups_own_with_floats_of_six_digits() -> None:
    judge = Judge(STREAM, "r", 1)
    own = report(series=[(1, 2, 3, 1 / 3)], sources={"b": 1, "a": 2})
    [opened] = judge.apply(verdict(1, own, report(member="a", p=1e-30)))
    assert opened.expected == 5.12346
    assert opened.series == [(STREAM.ticks.start_us(1), 2, 3, 0.333333)]
    assert list(opened.sources) == ["a", "b"]
    assert (opened.tick_us, opened.tick_end_us) == (STREAM.ticks.start_us(1), STREAM.ticks.start_us(2))
    assert len(opened.id) == 32


def test_ids_differ_by_run_and_opening_tick_and_by_nothing_else() -> None:
    def opened(run: str, tick: int) -> str:
        return Judge(STREAM, run, 1).apply(verdict(tick, report()))[0].id

    assert opened("r", 1) == opened("r", 1)
    assert len({opened("r", 1), opened("r", 2), opened("q", 1)}) == 3


def test_a_verdict_that_was_applied_is_skipped_and_one_that_leaves_ticks_out_is_refused() -> None:
    judge = Judge(STREAM, "r", 1)
    first = verdict(1, report())
    assert len(judge.apply(first)) == 1
    assert judge.apply(first) == []
    with pytest.raises(RangeGap) as error:
        judge.apply(verdict(3))
    assert error.value.expected == 2


def test_a_tick_is_judged_when_all_buckets_have_reported_it() -> None:
    judge = Judge(STREAM, "r", 3)
    assert judge.apply(verdict(1, report("a"), bucket=0)) == []
    assert judge.apply(verdict(2, bucket=0)) == []
    assert judge.apply(verdict(1, report("b"), bucket=1)) == []
    assert [t.group for t in judge.apply(verdict(1, bucket=2))] == ["a", "b"]


def test_state_of_another_run_or_number_of_buckets_is_refused() -> None:
    data = Judge(STREAM, "r", 2).to_bytes()
    for run, buckets in (("q", 2), ("r", 3)):
        with pytest.raises(StateMismatch):
            Judge.from_bytes(STREAM, run, buckets, data)
    with pytest.raises(StateMismatch):
        Judge.from_bytes(adapted(STREAM, q=0.2), "r", 2, data)
    with pytest.raises(UnknownRecord):
        Judge.from_bytes(STREAM, "r", 2, b"\x93\x01\x02")
    with pytest.raises(StateMismatch):
        Judge(STREAM, "r", 2).apply(verdict(1, bucket=2))


GROUPS = ["a", "b", "c", "d", "e"]


def history(seed: int) -> list[tuple[int, dict[tuple[str, str], tuple[int, int]] | None]]:
    """Sixty ticks of five groups with a burst each; some ticks are gaps (None)."""
    draw = np.random.default_rng(seed)
    ticks: list[tuple[int, dict[tuple[str, str], tuple[int, int]] | None]] = []
    for tick in range(60):
        counts: dict[tuple[str, str], tuple[int, int]] = {}
        for i, group in enumerate(GROUPS):
            members = draw.poisson(4, 3) + (60 if 20 + 7 * i <= tick < 23 + 7 * i else 0) * np.array([1, 0, 1])
            counts |= {(group, f"m{j}"): (int(n), int(n)) for j, n in enumerate(members)}
            counts[group, ""] = (int(members.sum()), int(members.sum()))
        ticks.append((tick, None if tick % 11 in (5, 6) else counts))
    return ticks


def verdicts(
    ticks: list[tuple[int, dict[tuple[str, str], tuple[int, int]] | None]], place: dict[str, int], bucket: int
) -> list[Verdict]:
    detector, said = Detector(STREAM), []
    for tick, counts in ticks:
        if counts is None:
            said.append(verdict(tick, bucket=bucket, gap=True, tested=0))
        else:
            reports, tested = detector.close(tick, {k: v for k, v in counts.items() if place[k[0]] == bucket})
            said.append(verdict(tick, *reports, bucket=bucket, tested=tested))
    return said


@given(
    seed=st.integers(0, 2),
    places=st.lists(st.integers(0, 2), min_size=5, max_size=5),
    order=st.randoms(use_true_random=False),
    restart=st.integers(0, 179),
    joined=st.booleans(),
)
@settings(max_examples=20)
def test_buckets_interleavings_and_restarts_change_no_transition(
    seed: int, places: list[int], order: Any, restart: int, joined: bool
) -> None:
    ticks = history(seed)
    alone = Judge(STREAM, "r", 1)
    expected = [t for v in verdicts(ticks, dict.fromkeys(GROUPS, 0), 0) for t in alone.apply(v)]
    assert {t.group for t in expected if t.state == "opened"} == set(GROUPS)
    lines = [verdicts(ticks, dict(zip(GROUPS, places, strict=True)), bucket) for bucket in range(3)]
    if joined:  # a run of gap ticks as one verdict
        lines[0] = [
            verdict(v.first_tick, bucket=0, last=v.first_tick + 1, gap=True, tested=0) if v.gap else v
            for v in lines[0]
            if not (v.gap and v.first_tick % 11 == 6)
        ]
    judge, got, step = Judge(STREAM, "r", 3), [], 0
    while any(lines):
        line = order.choice([line for line in lines if line])
        got += judge.apply(line.pop(0))
        if step == restart:
            judge = Judge.from_bytes(STREAM, "r", 3, judge.to_bytes())
        step += 1
    assert got == expected
    assert digest(got) == digest(expected)


def transition(stream: str = "s", group: str = "g", sequence: int = 1, **more: Any) -> Transition:
    state: Literal["opened"] = "opened"
    return Transition(
        "0" * 32, sequence, "r", stream, "v", group, "up", state, "info", 1, 2, 3, 2, 5, 9, 1.5, 0.5, 3.0,
        more.pop("p", 0.01), **more,
    )  # fmt: skip


@given(st.permutations([transition(), transition(stream="t"), transition(group="h"), transition(sequence=2)]))
def test_the_digest_does_not_depend_on_how_streams_interleave(order: list[Transition]) -> None:
    assert digest(order) == digest([transition(), transition(sequence=2), transition(group="h"), transition("t")])


def test_the_digest_changes_with_everything_that_people_see() -> None:
    others = [
        transition(p=0.02),
        transition(sources={"a": 1}),
        transition(series=[(1, 2, 3, 0.5)]),
        transition(group="h"),
    ]
    assert len({digest([t]) for t in [transition(), *others]} | {digest([]), digest([transition()] * 2)}) == 7
