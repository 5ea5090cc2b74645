"""What is said of a classifier on a set of texts."""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from model.calibrate import Calibration, auroc, equal_mass, expected_calibration_error, f1
from pipeline.scoring.scored import THRESHOLD


class Figures(msgspec.Struct, frozen=True):
    """Of `texts` texts, of which the part `bad` is bad. `accuracy` and `f1` at 0.5; `auroc` is null where one class is
    missing; `ece` over 15 bins of equal mass, `ece_before` without calibration (null where there is none)."""

    texts: int
    bad: float
    accuracy: float
    f1: float
    auroc: float | None
    ece: float
    ece_before: float | None = None


def figures(
    probabilities: NDArray[np.float64], bad: NDArray[np.bool_], before: NDArray[np.float64] | None = None
) -> Figures:
    """Of probabilities (n) and truths (n), which must not be empty; `before` are probabilities before calibration."""
    area = auroc(probabilities, bad)
    called = probabilities >= THRESHOLD
    return Figures(
        texts=len(bad),
        bad=round(float(bad.mean()), 4),
        accuracy=round(float(np.mean(called == bad)), 4),
        f1=round(f1(called, bad), 4),
        auroc=None if math.isnan(area) else round(area, 4),
        ece=round(expected_calibration_error(probabilities, bad), 4),
        ece_before=None if before is None else round(expected_calibration_error(before, bad), 4),
    )


def uncalibrated(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probabilities as the training alone gives them."""
    return Calibration(scale=1.0, shift=0.0).probabilities(logits)


class Bin(msgspec.Struct, frozen=True):
    """A bin of a reliability diagram: mean probability, share of bad, number of texts."""

    probability: float
    bad: float
    texts: int


def reliability(probabilities: NDArray[np.float64], bad: NDArray[np.bool_], bins: int = 15) -> list[Bin]:
    """The reliability diagram over bins of equal mass, the same ones as in the calibration error."""
    return [
        Bin(round(float(p.mean()), 4), round(float(share.mean()), 4), len(p))
        for p, share in equal_mass(probabilities, bad, bins)
    ]
