"""Two classifiers on the same held-out texts: is the later one better, or is that chance?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from model.calibrate import Doubles
from model.classifier import Classifier
from model.data.example import Example
from model.evaluation.figures import Figures, figures

Verdict = Literal["better", "no clear difference", "worse"]

#: Probabilities are taken to lie this far from 0 and 1 at the least, or one text would decide.
_LEAST = 1e-4


class Comparison(msgspec.Struct, frozen=True):
    """Figures of both. `gain` is how much lower the cross-entropy is after than before, in nats a text: it sees better
    order and truer probabilities alike. `error` is its standard error over texts; the verdict asks for two of them."""

    before: Figures
    after: Figures
    gain: float
    error: float
    verdict: Verdict


def scored_by(classifier: Classifier, examples: Sequence[Example]) -> Doubles:
    """Probabilities (n) of the texts, as the pipeline would find them."""
    return np.array([scored.bad for scored in classifier.score([example.text for example in examples])], np.float64)


def compared(examples: Sequence[Example], before: Doubles, after: Doubles) -> Comparison:
    """By the probabilities (n) of both that the examples (n > 1) are bad."""
    targets = np.array([example.target for example in examples])
    gains = _losses(targets, before) - _losses(targets, after)
    gain, error = float(gains.mean()), float(gains.std(ddof=1)) / math.sqrt(len(gains))
    verdict: Verdict = "no clear difference"
    if abs(gain) > 2 * error:
        verdict = "better" if gain > 0 else "worse"
    bad = targets > 0.5
    return Comparison(figures(before, bad), figures(after, bad), round(gain, 4), round(error, 4), verdict)


def _losses(targets: Doubles, probabilities: Doubles) -> Doubles:
    p = np.clip(probabilities, _LEAST, 1 - _LEAST)
    return np.asarray(-(targets * np.log(p) + (1 - targets) * np.log(1 - p)), np.float64)
