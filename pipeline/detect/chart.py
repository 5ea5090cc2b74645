"""The chart: a cumulative sum that gathers several weak ticks into one alarm.

c = max(0, c + clip(z, -3, 6) - 1), with z the normal score of the tick (Page 1954; the score of a count as in
Hoehle and Paul 2008). It speaks only in a tick in which it rises (z > 1), and once it is above ALARM it starts from
0 again at the first tick with a score of at most CALM: a surge that is over must not lend its weight to the noise
after it, while one that goes on may gather what ten thousand keys ask for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: p about .004; with 2.5 to 5 fewer outbreaks are found at equal false positives (bench/detection.py).
ALARM = 2.0
CALM = 1.5
#: p about 1e-14: more than any false-alarm control asks for.
HIGHEST = 15.0
_STEP = 0.5
#: ln P(the chart rises, and to c or more) in a tick when nothing happens (independent standard normal scores),
#: for c = 0, .5, ... 5: the stationary law of `step` and `carried` on a grid of .01. `tests/unit/detect/test_chart.py`
#: makes it again. Beyond 5 it falls by _DECAY for each 1 of c, where E[exp(_DECAY (z - 1)); z > CALM] = 1.
_LOG_P = np.array([-1.841, -2.5391, -3.3881, -4.3578, -5.4128, -6.5134, -7.6268, -8.7434, -9.861, -10.9789, -12.0966])
_DECAY = 2.2353


def step(chart: Floats, z: Floats) -> tuple[Floats, Floats]:
    """The chart after a tick and its p-value; 1 where it did not rise."""
    value = np.maximum(0.0, chart + np.clip(z, -3.0, 6.0) - 1.0)
    p = np.ones_like(value)
    rises = np.nonzero(z > 1.0)[0]  # few of many: a p-value costs more than the rest
    p[rises] = p_value(value[rises])
    return value, p


def carried(before: Floats, after: Floats, z: Floats) -> Floats:
    """The chart that the next tick starts from."""
    over = (np.maximum(before, after) > ALARM) & (z <= CALM)
    return np.where(over, 0.0, np.minimum(after, HIGHEST))


def p_value(chart: Floats) -> Floats:
    """P(the chart rises to this value or more) when nothing happens; shape as given."""
    place = np.minimum(chart / _STEP, len(_LOG_P) - 1.0)
    knot = np.minimum(place.astype(np.intp), len(_LOG_P) - 2)
    inside = _LOG_P[knot] + (_LOG_P[knot + 1] - _LOG_P[knot]) * (place - knot)
    p: Floats = np.exp(inside - _DECAY * np.maximum(chart - _STEP * (len(_LOG_P) - 1), 0.0))
    return p
