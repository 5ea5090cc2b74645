"""Screening: one tick of many keys, from their counts to p-values, state in and state out.

State is a matrix of float64, a row a quantity and a column a key: the forecast's rows, then the two charts. A
key's column depends on its own past alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.detect import chart
from pipeline.detect.forecast import LEARN_TICKS, Floats, Forecast
from pipeline.detect.tail import tails
from pipeline.streams import Definition

#: How a key's two p-values become one: min(5 p_tail, 1.25 p_chart), a weighted Bonferroni bound (1/5 + 1/1.25 = 1).
#: The chart finds what is hard to find and gets most of the weight; one huge tick has p to spare.
TAIL_FACTOR, CHART_FACTOR = 5.0, 1.25
#: A drop is looked for only where no count at all would be this surprising.
ZERO_SURPRISES = 0.05


@dataclass(frozen=True, slots=True)
class Screened:
    """What a tick says, one entry a key: `p_up` and `p_down` join the tick's tail with the chart; `testable_down`
    says whether a drop could show."""

    expected: Floats
    variance: Floats
    z: Floats
    p_up: Floats
    p_down: Floats
    chart_up: Floats
    chart_down: Floats
    learning: NDArray[np.bool_]
    testable_down: NDArray[np.bool_]


class Screening:
    """Screens the keys of one stream; holds no state of its own."""

    def __init__(self, definition: Definition) -> None:
        self.forecast = Forecast(definition)
        self.up, self.down = self.forecast.rows, self.forecast.rows + 1
        self.rows = self.down + 1

    def born(self, tick: int, like: Floats | None) -> Floats:
        """The column of a new key; `like` is that of its group, if any."""
        return np.concatenate((self.forecast.born(tick, like), np.zeros(2)))

    def screen(self, x: Floats, y: Floats, total: Floats, tick: int) -> Screened:
        """Screen counts `y` (of `total` >= 1, which only a share looks at) at `tick` and learn from them.

        `x` [rows, keys] changes in place; its rows must be contiguous."""
        model = self.forecast
        learning = x[model.age] < LEARN_TICKS
        model.evolve(x, tick)
        ahead = model.ahead(x, tick, total)
        tail = tails(y, ahead.mean, ahead.variance)
        testable_down = tail.zero <= ZERO_SURPRISES
        up, chart_p_up = chart.step(x[self.up], tail.z)
        down, chart_p_down = chart.step(x[self.down], -tail.z)
        p_up = _joined(tail.upper, chart_p_up)
        p_down = np.where(testable_down, _joined(tail.lower, chart_p_down), 1.0)
        model.learn(x, ahead, y, tick)
        # What a learning key is surprised by says more about the forecast than about the world.
        x[self.up] = np.where(learning, 0.0, chart.carried(x[self.up], up, tail.z))
        x[self.down] = np.where(learning, 0.0, chart.carried(x[self.down], down, -tail.z))
        return Screened(ahead.mean, ahead.variance, tail.z, p_up, p_down, up, down, learning, testable_down)


def _joined(tail: Floats, charted: Floats) -> Floats:
    return np.minimum(1.0, np.minimum(TAIL_FACTOR * tail, CHART_FACTOR * charted))
