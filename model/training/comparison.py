"""Two classifiers on the same held-out texts: is the later one better, or is that chance?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from model.calibrate import Doubles
from model.classifier import Classifier
from model.data.example import Example
from model.evaluation.figures import Figures, figures
from pipeline.scoring.scored import THRESHOLD

Verdict = Literal["better", "no clear difference", "worse"]

#: Probabilities are taken to lie this far from 0 and 1 at the least, or one text would decide.
_LEAST = 1e-4


class Comparison(msgspec.Struct, frozen=True):
    """Figures of both. `gain` is how much lower the cross-entropy is after than before, in nats a text: it sees better
    order and truer probabilities alike. `error` is its standard error over texts; the verdict asks for two of them. It
    is never better where more labels are wrong, by two standard errors as well: that is worse, though probabilities of
    one half lose little; nor where bad texts score no higher than others but by chance."""

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
    bad = targets > 0.5
    old, new = figures(before, bad), figures(after, bad)
    verdict: Verdict = "no clear difference"
    if gain < -2 * error or _more_are_wrong(bad, before, after):
        verdict = "worse"
    elif gain > 2 * error and (new.auroc is None or _is_order(new.auroc, bad)):
        verdict = "better"
    return Comparison(old, new, round(gain, 4), round(error, 4), verdict)


def _more_are_wrong(bad: NDArray[np.bool_], before: Doubles, after: Doubles) -> bool:
    """Clearly fewer labels (n) are right after than before: the difference of the paired counts (McNemar 1947) is two
    standard errors below none."""
    gained = ((after >= THRESHOLD) == bad).astype(np.float64) - ((before >= THRESHOLD) == bad)
    return bool(gained.mean() < -2 * gained.std(ddof=1) / math.sqrt(len(gained)))


def _is_order(area: float, bad: NDArray[np.bool_]) -> bool:
    """An AUROC over labels (n) of both classes that is two standard errors above that of no order at all (Mann and
    Whitney 1947, section 3)."""
    count, of_bad = len(bad), int(bad.sum())
    return area - 0.5 > 2 * math.sqrt((count + 1) / (12 * of_bad * (count - of_bad)))


def _losses(targets: Doubles, probabilities: Doubles) -> Doubles:
    p = np.clip(probabilities, _LEAST, 1 - _LEAST)
    return np.asarray(-(targets * np.log(p) + (1 - targets) * np.log(1 - p)), np.float64)
