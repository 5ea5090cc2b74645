"""Detection on streams that people recorded: alert bursts of a supercomputer, outbreak news of the WHO."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from pipeline.detect.detector import Detector
from pipeline.detect.judge import Judge
from pipeline.instants import MINUTE_US, WEEK_US, from_datetime
from pipeline.records import Transition, Verdict
from pipeline.streams import Definition, adapted

DATA = Path(__file__).parents[4] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason=f"the recorded streams are not at {DATA}")


def surges(definition: Definition, ticks: list[dict[tuple[str, str], tuple[int, int]]], first: int) -> list[Transition]:
    detector, judge, said = Detector(definition), Judge(definition, "test", 1), []
    for tick, counts in enumerate(ticks, first):
        reports, tested = detector.close(tick, counts)
        said += judge.apply(Verdict(definition.name, definition.version, 0, tick, tick, False, tested, reports))
    return said


def instant(text: str) -> int:
    return from_datetime(datetime.fromisoformat(text).replace(tzinfo=UTC))


@needs_data
@pytest.mark.parametrize("count", ["number", "share"])
def test_both_alert_bursts_of_a_day_of_bluegene_open_within_two_ticks(count: str) -> None:
    definition = adapted(Definition(name="bgl", kind="logs", tick_us=5 * MINUTE_US), count=count)
    lines, bad = Counter[int](), Counter[int]()
    with gzip.open(DATA / "logs" / "bgl_first_day.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            tick = definition.ticks.index(instant(row["ts"]))
            lines[tick] += 1
            bad[tick] += row["label"] != "-"
    first = min(lines)
    said = surges(definition, [{("all", ""): (bad[t], lines[t])} for t in range(first, max(lines) + 1)], first)
    opened = [t for t in said if t.state == "opened"]
    for burst in ("2005-06-04 00:24", "2005-06-04 04:45"):
        at = definition.ticks.index(instant(burst))
        assert any(at <= t.tick <= at + 2 and t.severity == "critical" for t in opened)
    assert len(opened) <= 4


@needs_data
@pytest.mark.parametrize("seasons", [(), ("year",)])
def test_the_great_outbreaks_raise_surges_in_who_news_and_quiet_years_few(seasons: tuple[str, ...]) -> None:
    base = Definition(name="who", kind="health", tick_us=WEEK_US, false_alarms_a_week=0.05)
    definition = adapted(base, seasons=seasons)
    reports = Counter[int]()
    with gzip.open(DATA / "health" / "who_don_1996_2015.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            reports[definition.ticks.index(instant(row["Date"]))] += 1
    first = min(reports)
    ticks = [{("all", ""): (reports[t], reports[t])} if reports[t] else {} for t in range(first, max(reports) + 1)]
    open_weeks: set[int] = set()
    opened: dict[str, int] = {}
    for t in surges(definition, ticks, first):
        if t.state == "opened":
            opened[t.id] = t.tick
        elif t.state == "resolved":
            open_weeks.update(range(opened[t.id], t.tick))
    for peak in ("2003-04-14", "2009-05-11", "2014-04-07"):  # SARS, H1N1, Ebola
        assert definition.ticks.index(instant(peak)) in open_weeks
    assert len(opened) <= 25  # in twenty years
    assert len(open_weeks) < 0.2 * len(ticks)


@pytest.mark.parametrize("mean", [0.02, 0.5, 8.0])
def test_a_thousand_quiet_keys_stay_within_the_budget_of_false_alarms(mean: float) -> None:
    definition = Definition(name="quiet", kind="logs", tick_us=5 * MINUTE_US)
    draw = np.random.default_rng(11)
    keys = [(f"g{i}", "") for i in range(1000)]
    ticks = []
    for _ in range(600):  # a little more than two days
        counts = np.where(np.arange(1000) % 2, draw.poisson(mean, 1000), draw.negative_binomial(mean, 0.5, 1000))
        ticks.append({k: (n, n) for k, n in zip(keys, counts.tolist(), strict=True) if n})
    opened = [t for t in surges(definition, ticks, 0) if t.state == "opened"]
    assert len(opened) <= 3


def test_a_stream_of_ten_ticks_pages_a_burst_within_two_and_nothing_before_it() -> None:
    definition = Definition(name="young", kind="logs", tick_us=5 * MINUTE_US)
    for seed in range(12):
        draw = np.random.default_rng(seed)
        mean = float(draw.choice([10, 30, 200, 5000]))
        volume = draw.poisson(mean * np.where(np.arange(24) < 11, 1, 5)).tolist()
        said = surges(definition, [{("all", ""): (n, n)} for n in volume], 0)
        assert said[0].tick in (11, 12), (seed, mean)
