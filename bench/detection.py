"""Detection measured: `python -m bench.detection [--seeds 2] [--series 20] [--json]`.

Weekly series simulated as in Noufaily et al. (2013), Statistics in Medicine 32: 42 scenarios, 624 weeks of which the
last 49 are judged, four past outbreaks in the baseline and one current. One threshold is pooled over all scenarios
so that the given share of weeks without an outbreak alarms; "detected" is the share of current outbreaks with an
alarm in one of their weeks. Years have 365.2425 days here, as in the calendar.

Beside ours: EARS C1 to C3 (Hutwagner et al. 2003), a quasi-Poisson detector after Farrington et al. (1996) without its
reweighting, and ours with the true mean and dispersion in place of the forecast.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pipeline.detect import chart
from pipeline.detect.detector import Detector
from pipeline.detect.discovery import cut
from pipeline.detect.screening import CHART_FACTOR, TAIL_FACTOR, Screening
from pipeline.detect.tail import tails
from pipeline.instants import DAY_US, MINUTE_US, WEEK_US
from pipeline.streams import Definition

Floats = NDArray[np.float64]
WEEKS, JUDGED = 624, 49
YEAR = 365.2425 * DAY_US / WEEK_US
#: theta, phi, beta, (gamma1, gamma2); each with and without trend and with 0, 1 and 2 harmonics.
SCENARIOS = [
    (0.1, 1.5, 0.0025, (0.6, 0.6)),
    (-2.0, 2.0, 0.005, (0.1, 0.3)),
    (1.5, 1.0, 0.003, (0.2, -0.4)),
    (0.5, 5.0, 0.002, (0.5, 0.5)),
    (2.5, 3.0, 0.001, (1.0, 0.1)),
    (3.75, 1.1, 0.001, (0.1, -0.1)),
    (5.0, 1.2, 0.0001, (0.05, 0.01)),
]


class Simulated:
    """Series [series, weeks] with their true mean, dispersion, and the weeks of any and of the current outbreak."""

    def __init__(self, seed: int, series: int) -> None:
        draw = np.random.default_rng(seed)
        week = np.arange(1, WEEKS + 1)
        counts, means, phis, outbreak, current = [], [], [], [], []
        for (theta, phi, beta, gamma), trend, harmonics in product(SCENARIOS, (1, 0), (0, 1, 2)):
            log_mean = theta + beta * trend * week
            for j in range(1, harmonics + 1):
                angle = 2 * np.pi * j * week / YEAR
                log_mean = log_mean + gamma[0] * np.cos(angle) + gamma[1] * np.sin(angle)
            mean = np.exp(log_mean)
            for _ in range(series):
                y = draw.negative_binomial(mean / (phi - 1), 1 / phi) if phi > 1 else draw.poisson(mean)
                weeks = np.zeros((5, WEEKS), bool)
                starts = [*draw.integers(312, WEEKS - JUDGED, 4), draw.integers(WEEKS - JUDGED, WEEKS)]
                for i, start in enumerate(starts):
                    size = 0
                    while not size:
                        size = draw.poisson(draw.integers(1, 11) * np.sqrt(phi * mean[start]))
                    at = start + np.floor(draw.lognormal(0, 0.5, size)).astype(int)
                    np.add.at(y, at[at < WEEKS], 1)
                    weeks[i, at[at < WEEKS]] = True
                counts.append(y)
                means.append(mean)
                phis.append(phi)
                outbreak.append(weeks.any(0))
                current.append(weeks[4])
        self.y = np.array(counts, float)
        self.mean, self.phi = np.array(means), np.array(phis)
        self.outbreak, self.current = np.array(outbreak)[:, -JUDGED:], np.array(current)[:, -JUDGED:]


def ours(s: Simulated) -> Floats:
    screening = Screening(Definition(name="weekly", kind="health", tick_us=WEEK_US, seasons=("year",)))
    x = np.repeat(screening.born(0, None)[:, None], len(s.y), axis=1)
    one = np.ones(len(s.y))
    return np.array([screening.screen(x, s.y[:, t].copy(), one, t).p_up for t in range(WEEKS)]).T[:, -JUDGED:]


def known_model(s: Simulated) -> Floats:
    value, p = np.zeros(len(s.y)), []
    for t in range(WEEKS - JUDGED - 50, WEEKS):
        mean = s.mean[:, t]
        tail = tails(s.y[:, t].copy(), mean.copy(), s.phi * mean)
        after, charted = chart.step(value, tail.z)
        value = chart.carried(value, after, tail.z)
        p.append(np.minimum(TAIL_FACTOR * tail.upper, CHART_FACTOR * charted))
    return np.array(p).T[:, -JUDGED:]


def ears(s: Simulated, lag: int, memory: int = 1) -> Floats:
    """Minus the score of C1 (lag 0), C2 (lag 2) or C3 (memory 3): smaller is more surprising."""
    c = np.zeros(s.y.shape)
    for t in range(20, WEEKS):
        base = s.y[:, t - lag - 7 : t - lag]
        c[:, t] = (s.y[:, t] - base.mean(1)) / np.maximum(base.std(1, ddof=1), 0.5)
    if memory > 1:
        c = np.sum([np.roll(np.maximum(c - 1, 0), k, axis=1) for k in range(memory)], axis=0)
    return -c[:, -JUDGED:]


def farrington_like(s: Simulated) -> Floats:
    """A line through the same seven weeks of the five years before, quasi-Poisson: p-values."""
    p = []
    for t in range(WEEKS - JUDGED, WEEKS):
        at = np.array([t - round(YEAR * year) + k for year in range(1, 6) for k in range(-3, 4)])
        base, x = s.y[:, at], at - at.mean()
        mean = base.mean(1)
        slope = (base * x).sum(1) / (x * x).sum()
        mean_t = np.maximum(mean + slope * (t - at.mean()), 0.05)
        fitted = np.maximum(mean[:, None] + slope[:, None] * x, 0.05)
        phi = np.maximum(((base - fitted) ** 2 / fitted).sum(1) / (len(at) - 2), 1.0)
        doubt = phi * mean_t * (1 + 1 / len(at) + (t - at.mean()) ** 2 / (x * x).sum())
        p.append(tails(s.y[:, t].copy(), mean_t, doubt).upper)
    return np.array(p).T


def detection(s: Simulated, p: Floats, at: float) -> dict[str, float]:
    """Detected outbreaks at a pooled share `at` of false positives, and the worst scenario's share."""
    quiet = ~s.outbreak
    alarms = p <= np.quantile(p[quiet], at)
    if (alarms & quiet).sum() > 1.5 * at * quiet.sum():  # many ties at the threshold
        alarms = p < np.quantile(p[quiet], at)
    detected = (alarms & s.current).any(1)[s.current.any(1)].mean()
    per = alarms.reshape(42, -1), quiet.reshape(42, -1)
    worst = ((per[0] & per[1]).sum(1) / per[1].sum(1)).max()
    return {"detected": float(detected), "worst_scenario": float(worst)}


def weekly(seeds: int, series: int) -> Iterator[tuple[str, float]]:
    methods: dict[str, Callable[[Simulated], Floats]] = {
        "EARS C1": lambda s: ears(s, 0),
        "EARS C2": lambda s: ears(s, 2),
        "EARS C3": lambda s: ears(s, 2, 3),
        "Farrington-like": farrington_like,
        "ours": ours,
        "true model known": known_model,
    }
    runs = [Simulated(seed, series) for seed in range(1, seeds + 1)]
    for name, method in methods.items():
        found = [[detection(s, p, at) for at in (0.01, 0.001)] for s in runs for p in (method(s),)]
        for i, at in enumerate(("1 %", "0.1 %")):
            yield f"{name}: detected at {at}", float(np.mean([f[i]["detected"] for f in found]))
        yield f"{name}: worst scenario at 1 %", float(np.mean([f[0]["worst_scenario"] for f in found]))
    busy = np.repeat([np.exp(c[0][0]) > 1 for c in product(SCENARIOS, (1, 0), (0, 1, 2))], series)
    p = np.array([ours(s) for s in runs])
    quiet = np.array([~s.outbreak for s in runs])
    realised = [(p[:, b] <= 0.01)[quiet[:, b]].mean() / 0.01 for b in np.nonzero(busy)[0].reshape(-1, series)]
    yield "ours: realised over nominal at 1 %, least", float(min(realised))
    yield "ours: realised over nominal at 1 %, most", float(max(realised))


def volume(seed: int = 1, keys: int = 2000) -> Iterator[tuple[str, float]]:
    """Volume times three: with the same share nothing happened, with a doubled share something did."""
    draw = np.random.default_rng(seed)
    screening = Screening(Definition(name="share", kind="news", tick_us=DAY_US, count="share"))
    x = np.repeat(screening.born(0, None)[:, None], keys, axis=1)
    base, share = draw.gamma(2, 40, keys) + 5, draw.beta(2, 20, keys)
    for day in range(200):
        total = draw.poisson(base).astype(float) + 1.0
        screening.screen(x, draw.binomial(total.astype(int), share).astype(float), total, day)
    total = draw.poisson(3 * base).astype(float) + 1.0
    for name, factor in (("unchanged share: false positives", 1), ("doubled share: detected", 2)):
        bad = draw.binomial(total.astype(int), np.minimum(factor * share, 1)).astype(float)
        p = screening.screen(x.copy(), bad, total, 200).p_up
        yield f"volume x3, {name} at nominal .001", float((p <= 0.001).mean())


def many_keys(seed: int = 1, keys: int = 10_080) -> Iterator[tuple[str, float]]:
    """One tick in which 2 % of the keys surge by 3 to 10 standard deviations: false discovery at q = .1."""
    draw = np.random.default_rng(seed)
    screening = Screening(Definition(name="many", kind="logs", tick_us=WEEK_US))
    x = np.repeat(screening.born(0, None)[:, None], keys, axis=1)
    rate, phi = draw.gamma(0.7, 8, keys) + 0.05, draw.choice([1.2, 2.0, 3.0], keys)
    found, false, hits, surging = 0, 0, 0, 0
    for tick in range(220):
        y = draw.negative_binomial(rate / (phi - 1), 1 / phi).astype(float)
        surges = draw.random(keys) < 0.02 if tick >= 200 and tick % 5 == 0 else np.zeros(keys, bool)
        y += surges * draw.poisson(draw.integers(1, 11, keys) * np.sqrt(phi * rate))
        p = screening.screen(x, y, np.ones(keys), tick).p_up
        if surges.any():
            alarms = p <= cut(p[p <= 0.05].tolist(), keys, 0.1)
            found += int(alarms.sum())
            false += int((alarms & ~surges).sum())
            hits += int((alarms & surges).sum())
            surging += int(surges.sum())
    yield "10,080 keys, q = .1: false discovery proportion", false / max(found, 1)
    yield "10,080 keys, q = .1: detected", hits / surging


def speed(keys: int = 10_000, ticks: int = 60) -> Iterator[tuple[str, float]]:
    draw = np.random.default_rng(0)
    names = [(f"g{i // 100}", f"m{i}" if i % 100 else "") for i in range(keys)]
    for mean in (0.05, 10.0):
        detector = Detector(Definition(name="speed", kind="logs", tick_us=5 * MINUTE_US))
        rate, spent = draw.gamma(1, mean, keys), 0.0
        for tick in range(ticks):
            counts = {k: (n, n) for k, n in zip(names, draw.poisson(rate).tolist(), strict=True) if n}
            start = time.process_time()
            detector.close(tick, counts)
            spent += (time.process_time() - start) * (tick >= ticks // 2)
        yield f"key-ticks a second, mean count {mean:g}", keys * (ticks - ticks // 2) / spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=2, help="simulations to average over")
    parser.add_argument("--series", type=int, default=20, help="series a scenario")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    chosen = parser.parse_args()
    figures: dict[str, float] = {}
    for part in (weekly(chosen.seeds, chosen.series), volume(), many_keys(), speed()):
        for name, value in part:
            figures[name] = float(f"{value:.4g}")
            print(f"{name:60} {value:.4g}", file=sys.stderr if chosen.json else sys.stdout)
    if chosen.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
