"""Calibration: from logits to probabilities that mean what they say, and how far they do not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Platt scaling (Platt 1999, eq. 1): probability = sigmoid(scale * logit + shift); `scale` > 0."""

    scale: float
    shift: float

    def probabilities(self, logits: NDArray[np.floating]) -> Doubles:
        """Probabilities in [0, 1], for logits of any size."""
        return sigmoid(self.scale * logits.astype(np.float64) + self.shift)


def sigmoid(logits: Doubles) -> Doubles:
    """The logistic function, without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)), np.float64)


#: So many steps are always made, and then more, so many at the most, until they are shorter than `_SHORT`. None is
#: longer than 1: a classifier of logits near 0 needs a scale of some hundreds.
_LEAST, _MOST = 50, 10_000
_SHORT = 1e-6


def fit(logits: NDArray[np.floating], targets: Doubles, weights: Doubles) -> Calibration:
    """The calibration with the least weighted cross-entropy, by Newton's method with a small ridge.

    `targets` in [0, 1] may be soft. Raises ModelError when the logits are no numbers, or order the targets
    backwards.
    """
    design = np.stack([logits.astype(np.float64), np.ones(len(logits))], axis=1)
    found = np.array([1.0, 0.0])
    for done in range(_MOST):
        p = sigmoid(design @ found)
        gradient = design.T @ (weights * (p - targets)) + 1e-6 * found
        curvature = (design * (weights * p * (1 - p))[:, None]).T @ design + 1e-6 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        length = float(np.abs(step).max())
        if done >= _LEAST and length < _SHORT:
            break
        found = found - step / max(1.0, length)
    if not np.isfinite(found).all():
        raise ModelError("the logits that calibrate are no numbers: begin with a sound base and classifier")
    if found[0] <= 0:
        raise ModelError(
            "the logits are lower for bad texts than for others: nothing to calibrate. Are bad and ok the right way "
            "round?"
        )
    return Calibration(scale=float(found[0]), shift=float(found[1]))


def smoothed(targets: Doubles) -> Doubles:
    """Targets no more certain than so many texts allow (Platt 1999, section 2.2): a few texts that are all told apart
    would make a calibration certain."""
    bad = int((targets > 0.5).sum())
    return np.clip(targets, 1 / (len(targets) - bad + 2), (bad + 1) / (bad + 2))


def expected_calibration_error(probabilities: Doubles, bad: NDArray[np.bool_], bins: int = 15) -> float:
    """Mean gap between probability and share of bad texts over bins of equal mass (Nguyen and O'Connor 2015)."""
    gaps = [len(p) * abs(float(p.mean() - share.mean())) for p, share in equal_mass(probabilities, bad, bins)]
    return sum(gaps) / len(probabilities)


def equal_mass(probabilities: Doubles, bad: NDArray[np.bool_], bins: int) -> list[tuple[Doubles, Doubles]]:
    """(probabilities, share of bad texts at each) of each bin of equal mass; an empty one is left out. Texts of one
    probability share their bad ones, wherever a bin ends between them: the order of the texts does not matter."""
    levels, level, counts = np.unique(probabilities, return_inverse=True, return_counts=True)
    shares = (np.bincount(level, weights=bad, minlength=len(levels)) / counts)[level]
    parts = np.array_split(np.argsort(probabilities, kind="stable"), bins)
    return [(probabilities[part], shares[part]) for part in parts if len(part)]


def auroc(scores: Doubles, bad: NDArray[np.bool_]) -> float:
    """The chance that a bad text scores above another one; ties count half. NaN when a class is missing."""
    positives, negatives = int(bad.sum()), int((~bad).sum())
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = float(ranks[inverse][bad].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def f1(bad_flags: NDArray[np.bool_], bad: NDArray[np.bool_]) -> float:
    """The harmonic mean of precision and recall; 0 when there is nothing right."""
    right = int((bad_flags & bad).sum())
    return 2 * right / max(1, int(bad_flags.sum()) + int(bad.sum()))
