"""The forecast: a dynamic generalised linear model for each key, all keys of a bucket at once.

Source: West, Harrison and Migon (1985), Dynamic Generalized Linear Models and Bayesian Forecasting, JASA 80:
Poisson counts, log link, conjugate gamma updating (equations 2.5 to 3.4), with a power likelihood for
overdispersion. A key's log rate is level + seasons; the level moves by a slope. The log rate is the logarithm of
the gamma's mean, before and after an update: with its expectation of the logarithm instead, as in the paper, a vague
key's level jumps by q/2 at its first count.

Discounts are half-lives in time, converted by the tick, so a stream of minutes does not forget its week in a day:

- level: 69 ticks (a discount of .99 a tick), but at least 6 hours and at least half of the longest season, or a
  level of short ticks would follow what the season should explain;
- slope: ten times the level's;
- a season: 26 of its periods.

Determinism: a key's floats must not depend on which other keys stand beside it, since buckets are cut
differently from one deployment to the next. So there are only elementwise operations on contiguous float64
arrays here: no matrix product, no sum over keys (a test compares the bits).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.detect.seasons import Seasons
from pipeline.instants import HOUR_US
from pipeline.streams import Definition

Floats = NDArray[np.float64]

LEVEL_VARIANCE = 4.0  # prior of a level, and the most that silence can make of it
SEASON_VARIANCE = 0.15
SLOPE_VARIANCE = 1e-5
SEASON_CAP, SLOPE_CAP = 0.3, 1e-4
FIRST_LEVEL = math.log(0.5)
#: Dispersion: an exponentially weighted mean that starts as 1.5, or as noise of a tenth of a large count, with the
#: weight of 4 ticks, once the level is known a little (from the third tick on). A tick weighs what it can say:
#: 2 mean/(1 + 2 mean), so a thousand ticks in which nothing was to be expected do not prove that nothing clumps.
FIRST_PHI, FIRST_PHI_RELATIVE, FIRST_PHI_WEIGHT, PHI_AGE = 1.5, 0.01, 4.0, 2
PHI_FORGET = 0.003
#: A dispersion known from few counts may be more: it is taken as this much higher over its weight.
PHI_DOUBT = 4.0
#: It is at most 30, or noise of a fifth of a large count; a tick counts for at most 3 times that, and at most as
#: an error of 5 standard deviations and 3 counts. Of ticks in a row beyond the bounds only the first two count:
#: clumps must teach it (log lines come in clumps), surges not.
PHI_CAP, PHI_RELATIVE, PHI_TICK, PHI_REACH, PHI_PLUS, PHI_RUN = 30.0, 0.05, 3.0, 5.0, 3.0, 2
#: A key is learning for its first ticks with data: they teach it raw and fast, and it pages nobody.
LEARN_TICKS = 8
LEARN_DISCOUNT = 0.8
#: After so many ticks in a row beyond its bounds a key has a new normal: it starts to learn again.
RELEARN_TICKS = 48
LOWEST_SPREAD = 0.05


@dataclass(frozen=True, slots=True)
class Ahead:
    """One-step forecasts, one entry a key: log rate `f` with variance `q`, expected count `mean`, predictive
    `variance`, `phi` (variance over mean were the rate known) and the part `unit` of it that no dispersion
    explains (1 for a number), `rf` (covariance of the state with f)."""

    f: Floats
    q: Floats
    mean: Floats
    variance: Floats
    phi: Floats
    unit: Floats
    rf: list[Floats]


class Forecast:
    """The model of a stream; the state of its keys is a matrix `[rows, keys]` that the caller keeps.

    Rows: the state's mean `m` (level, slope, seasons), the lower triangle of its covariance row by row, then
    `phi`, `phi_weight`, `age` (ticks with data, at most LEARN_TICKS), `last` (tick of the last data), `run`
    (ticks in a row beyond the bounds; negative below).
    """

    def __init__(self, definition: Definition) -> None:
        self.seasons = Seasons(definition)
        self.share = definition.count == "share"
        self.size = 2 + 2 * len(self.seasons.harmonics)
        tick = definition.tick_us
        longest = max((period for period, _ in self.seasons.harmonics), default=0)
        level = max(69.0, 6 * HOUR_US / tick, longest / 2 / tick)
        half_lives = [level, 10 * level]
        for period, _ in self.seasons.harmonics:
            half_lives += [26 * period / tick] * 2
        self.level_half_life = level
        self._rates = [math.log(2) / h for h in half_lives]
        self._caps = [LEVEL_VARIANCE, SLOPE_CAP] + [SEASON_CAP] * (self.size - 2)
        # A harmonic is forgotten as one block with its season; level and slope are blocks of their own.
        periods = [p for p, _ in self.seasons.harmonics for _ in range(2)]
        self._block = [-2, -1, *periods]
        self.phi = self.size + self.size * (self.size + 1) // 2
        self.phi_weight, self.age, self.last, self.run = range(self.phi + 1, self.phi + 5)
        self.rows = self.run + 1

    def c(self, i: int, j: int) -> int:
        """The row that holds the covariance of components i and j."""
        i, j = max(i, j), min(i, j)
        return self.size + i * (i + 1) // 2 + j

    def born(self, tick: int, like: Floats | None) -> Floats:
        """The state of a key before its first data; `like` is the state of its group, when it has one.

        A share starts from its group's level, a number from a small one: before the key came it had none."""
        x = np.zeros(self.rows)
        x[0] = FIRST_LEVEL
        if like is not None:
            x[0] = like[0] if self.share else min(like[0], FIRST_LEVEL)
            x[2 : self.size] = like[2 : self.size]
        for i in range(self.size):
            x[self.c(i, i)] = (LEVEL_VARIANCE, SLOPE_VARIANCE)[i] if i < 2 else SEASON_VARIANCE
        x[self.phi], x[self.phi_weight] = FIRST_PHI, FIRST_PHI_WEIGHT
        x[self.last] = tick - 1
        return x

    def evolve(self, x: Floats, tick: int) -> None:
        """Bring every key of `x` to `tick`, in place: one step over all ticks since its last data."""
        steps = tick - x[self.last]
        trend = np.minimum(steps, self.level_half_life)  # a slope says little about a far future
        x[0] += trend * x[1]
        level, cross, slope = x[self.c(0, 0)], x[self.c(1, 0)], x[self.c(1, 1)]
        level += trend * (2.0 * cross + trend * slope)
        cross += trend * slope
        for j in range(2, self.size):
            x[self.c(j, 0)] += trend * x[self.c(j, 1)]
        young = np.where(x[self.age] < LEARN_TICKS, 1.0 / LEARN_DISCOUNT, 1.0)
        grown: dict[int, Floats] = {}
        for i in range(self.size):
            if self._block[i] not in grown:
                grown[self._block[i]] = np.exp(np.minimum(steps * self._rates[i], 50.0))
                if i == 0:
                    grown[self._block[i]] *= young
            for j in range(i + 1):
                if self._block[i] == self._block[j]:
                    x[self.c(i, j)] *= grown[self._block[i]]
        self._cap(x)

    def _cap(self, x: Floats) -> None:
        """Shrink each variance above its cap with its covariances, so that the matrix stays one."""
        for i in range(self.size):
            variance = x[self.c(i, i)]
            if not (variance > self._caps[i]).any():  # multiplying by 1 would change no bit
                continue
            shrink = np.sqrt(np.minimum(1.0, self._caps[i] / variance))
            for j in range(self.size):
                x[self.c(i, j)] *= shrink
            variance *= shrink

    def ahead(self, x: Floats, tick: int, total: Floats) -> Ahead:
        """Forecasts of the counts at `tick` for an evolved `x`; `total` is what a share is a share of (>= 1)."""
        design = [1.0, 0.0, *self.seasons.design(tick)]
        f = x[0].copy()
        for j in range(2, self.size):
            f += design[j] * x[j]
        if self.share:
            f += np.log(total)
        np.clip(f, -30.0, 40.0, out=f)
        rf = []
        for i in range(self.size):
            row = x[self.c(i, 0)].copy()
            for j in range(2, self.size):
                row += design[j] * x[self.c(i, j)]
            rf.append(row)
        q = rf[0].copy()
        for j in range(2, self.size):
            q += design[j] * rf[j]
        np.maximum(q, 1e-9, out=q)
        mean = np.exp(f)
        phi = np.clip(x[self.phi], 1.0, _highest_phi(mean)) + PHI_DOUBT / x[self.phi_weight]
        # A share of a half spreads less than a Poisson count: 1 - share times as much.
        unit = np.maximum(1.0 - mean / total, LOWEST_SPREAD) if self.share else np.ones_like(mean)
        phi *= unit
        return Ahead(f, q, mean, phi * mean + q * mean * mean, phi, unit, rf)

    def learn(self, x: Floats, ahead: Ahead, y: Floats, tick: int) -> None:
        """Update every key of `x` by its count, in place. Counts beyond 3 standard deviations teach only so
        much, or a surge would become the expectation."""
        reach = 3.0 * np.sqrt(ahead.variance) + 0.5
        young = x[self.age] < LEARN_TICKS
        first = (x[self.age] == 0) & (y > ahead.mean + reach)
        bounded = np.clip(y, ahead.mean - reach, ahead.mean + reach)
        counted = np.where(young, y, bounded)
        self._learn_phi(x, ahead, y)
        # The first count of a key, when it is far above the prior, is the better prior.
        f = np.where(first, np.log(np.maximum(y, 1.0)), ahead.f)
        mean = np.where(first, y, ahead.mean)
        alpha = 1.0 / ahead.q
        posterior_alpha = alpha + counted / ahead.phi
        posterior_beta = alpha / mean + 1.0 / ahead.phi
        g = np.log(posterior_alpha / posterior_beta)
        gain = (g - f) / ahead.q
        keep = (1.0 - 1.0 / (posterior_alpha * ahead.q)) / ahead.q
        x[0] += f - ahead.f
        for i in range(self.size):
            x[i] += ahead.rf[i] * gain
            for j in range(i + 1):
                x[self.c(i, j)] -= ahead.rf[i] * ahead.rf[j] * keep
        np.clip(x[0], -20.0, 35.0, out=x[0])
        x[self.age] = np.minimum(x[self.age] + 1.0, LEARN_TICKS)
        x[self.last] = tick
        self._relearn(x, y > bounded, y < bounded)

    def _learn_phi(self, x: Floats, ahead: Ahead, y: Floats) -> None:
        error = np.minimum(np.abs(y - ahead.mean), PHI_REACH * np.sqrt(ahead.variance) + PHI_PLUS)
        new = x[self.age] == 0
        highest = _highest_phi(np.where(new, np.maximum(y, ahead.mean), ahead.mean))
        unit = ahead.unit * ahead.mean
        seen = (error * error - ahead.q * ahead.mean * ahead.mean) / unit
        x[self.phi] = np.where(new, np.maximum(x[self.phi], FIRST_PHI_RELATIVE * y), x[self.phi])
        teaches = (x[self.age] >= PHI_AGE) & (np.abs(x[self.run]) < PHI_RUN)
        says = np.where(teaches, 2.0 * ahead.mean / (1.0 + 2.0 * ahead.mean), 0.0)
        weight = x[self.phi_weight] * (1.0 - PHI_FORGET * says) + says
        x[self.phi] += (np.minimum(seen * says, PHI_TICK * highest) - x[self.phi] * says) / weight
        x[self.phi_weight] = weight
        np.clip(x[self.phi], 1.0, highest, out=x[self.phi])

    def _relearn(self, x: Floats, above: NDArray[np.bool_], below: NDArray[np.bool_]) -> None:
        run = x[self.run]
        side = np.where(above, np.maximum(run, 0.0) + 1.0, np.where(below, np.minimum(run, 0.0) - 1.0, 0.0))
        new = np.abs(side) >= RELEARN_TICKS
        x[self.run] = np.where(new, 0.0, side)
        if not new.any():
            return
        x[self.age] = np.where(new, 0.0, x[self.age])
        x[1] = np.where(new, 0.0, x[1])
        for j in range(1, self.size):
            x[self.c(j, 0)] = np.where(new, 0.0, x[self.c(j, 0)])
        x[self.c(0, 0)] = np.where(new, LEVEL_VARIANCE, x[self.c(0, 0)])


def _highest_phi(mean: Floats) -> Floats:
    highest: Floats = np.maximum(PHI_CAP, PHI_RELATIVE * mean)
    return highest
