"""Tails of the predictive law: how surprising a count is.

The law has the forecast's mean and variance: negative binomial when the variance is above the mean (P(Y >= y) is
the regularised incomplete beta function I_x(y, r) with r = mean^2/(variance - mean), x = 1 - mean/variance),
Poisson when they are equal, binomial of real size n = mean^2/(mean - variance) when it is below, which shares
near one need. Only elementwise functions: a key's result does not depend on its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

#: No p-value is smaller: beyond, the logarithm of the law underflows and nobody can tell.
SMALLEST = 1e-300
#: Above this count the chance of exactly y is too small beside the tail to matter.
_MANY = 1e5
#: Relative distance of variance and mean below which the law is Poisson.
_EQUAL = 1e-6


@dataclass(frozen=True, slots=True)
class Tails:
    """Of each count y: `upper` P(Y >= y), `lower` P(Y <= y), `z` the normal score of the upper mid-p
    P(Y > y) + P(Y = y)/2 (positive when the count is high), `zero` P(Y = 0)."""

    upper: Floats
    lower: Floats
    z: Floats
    zero: Floats


def tails(y: Floats, mean: Floats, variance: Floats) -> Tails:
    """The tails at counts `y` >= 0 (whole numbers). Shapes are equal and one-dimensional; mean, variance > 0."""
    over = variance > mean * (1.0 + _EQUAL)
    under = variance < mean * (1.0 - _EQUAL)
    upper, point, lower = np.ones_like(y), np.empty_like(y), np.empty_like(y)
    zero = np.exp(-mean)
    for chosen, law in ((over, _negative_binomial), (under, _binomial), (~over & ~under, _poisson)):
        index = np.nonzero(chosen)[0]
        if not index.size:
            continue
        zero[index] = law.zero(mean[index], variance[index])
        point[index] = zero[index]
        lower[index] = zero[index]
        index = index[y[index] > 0]
        if not index.size:
            continue
        count, m, v = y[index], mean[index], variance[index]
        upper[index] = law.upper(count, m, v)
        point[index] = np.where(count > _MANY, 0.0, law.point(count, m, v))
        # 1 - upper loses its digits when it is small; then, and only then, the exact complement is worth its cost.
        below = 1.0 - upper[index] + point[index]
        few = np.nonzero(below < 0.05)[0]
        below[few] = law.lower(count[few], m[few], v[few])
        lower[index] = below
    np.clip(upper, SMALLEST, 1.0, out=upper)
    np.clip(lower, SMALLEST, 1.0, out=lower)
    np.minimum(point, np.minimum(upper, lower), out=point)
    # Each half from its own tail, so that neither end is a difference of two ones.
    high = upper < lower
    z: Floats = special.ndtri(np.where(high, upper, lower) - 0.5 * point)
    np.negative(z, out=z, where=high)
    return Tails(upper, lower, z, zero)


def interval(mean: Floats, variance: Floats, share: float = 0.95) -> tuple[Floats, Floats]:
    """The central predictive interval of the count, by the gamma law of that mean and variance with half a
    count of continuity on each side: `low` is at least 0."""
    shape, scale = mean * mean / variance, variance / mean
    low = special.gammaincinv(shape, (1.0 - share) / 2.0) * scale - 0.5
    high = special.gammaincinv(shape, (1.0 + share) / 2.0) * scale + 0.5
    return np.maximum(low, 0.0), high


class _negative_binomial:  # noqa: N801 - three laws of one shape, used as values
    @staticmethod
    def zero(m: Floats, v: Floats) -> Floats:
        excess = v - m
        return np.exp(-(m * m / excess) * np.log1p(excess / m))

    @staticmethod
    def upper(y: Floats, m: Floats, v: Floats) -> Floats:
        return special.betainc(y, m * m / (v - m), (v - m) / v)  # type: ignore[no-any-return]

    @staticmethod
    def lower(y: Floats, m: Floats, v: Floats) -> Floats:
        return special.betainc(m * m / (v - m), y + 1.0, m / v)  # type: ignore[no-any-return]

    @staticmethod
    def point(y: Floats, m: Floats, v: Floats) -> Floats:
        r = m * m / (v - m)
        choose = special.gammaln(y + r) - special.gammaln(r) - special.gammaln(y + 1.0)
        p: Floats = np.exp(choose - r * np.log1p((v - m) / m) + y * np.log((v - m) / v))
        return p


class _binomial:  # noqa: N801
    @staticmethod
    def zero(m: Floats, v: Floats) -> Floats:
        return np.exp(m * m / (m - v) * np.log(v / m))

    @staticmethod
    def upper(y: Floats, m: Floats, v: Floats) -> Floats:
        beyond = m * m / (m - v) - y + 1.0
        return np.where(beyond > 0, special.betainc(y, np.maximum(beyond, 1e-9), 1.0 - v / m), 0.0)

    @staticmethod
    def lower(y: Floats, m: Floats, v: Floats) -> Floats:
        beyond = m * m / (m - v) - y
        return np.where(beyond > 0, special.betainc(np.maximum(beyond, 1e-9), y + 1.0, v / m), 1.0)

    @staticmethod
    def point(y: Floats, m: Floats, v: Floats) -> Floats:
        n = m * m / (m - v)
        rest = np.maximum(n - y, 0.0)
        choose = special.gammaln(n + 1.0) - special.gammaln(y + 1.0) - special.gammaln(rest + 1.0)
        p: Floats = np.exp(choose + y * np.log(1.0 - v / m) + rest * np.log(v / m))
        return p


class _poisson:  # noqa: N801
    @staticmethod
    def zero(m: Floats, v: Floats) -> Floats:
        return np.exp(-m)

    @staticmethod
    def upper(y: Floats, m: Floats, v: Floats) -> Floats:
        return special.gammainc(y, m)  # type: ignore[no-any-return]

    @staticmethod
    def lower(y: Floats, m: Floats, v: Floats) -> Floats:
        return special.gammaincc(y + 1.0, m)  # type: ignore[no-any-return]

    @staticmethod
    def point(y: Floats, m: Floats, v: Floats) -> Floats:
        p: Floats = np.exp(y * np.log(m) - m - special.gammaln(y + 1.0))
        return p
