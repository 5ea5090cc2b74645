"""A classifier's probabilities set right for a person's texts, without training: scale and shift alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model import registry
from model.base import Base
from model.calibrate import Calibration, Doubles, fit, smoothed
from model.data.example import Example, split_by_hash
from model.engines.openvino_engine import OpenVinoEncoder
from model.tokenizing import TextTokenizer
from model.training.adaptation import means
from pipeline.errors import SourceError
from pipeline.scoring.kind import as_scored

#: Texts of each class that a half has at the least.
LEAST = 5


def halves(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """To fit on, and held out; by the hash of the group. Raises SourceError when one has too few of a class."""
    held_out = [split_by_hash(example.group, tune=0.0, test=0.5) == "test" for example in examples]
    fitted, test = ([e for e, out in zip(examples, held_out, strict=True) if out is part] for part in (False, True))
    for half in (fitted, test):
        bad = sum(example.target > 0.5 for example in half)
        if min(bad, len(half) - bad) < LEAST:
            raise SourceError(
                f"too few texts: half of the {len(examples):,} has {bad} bad and {len(half) - bad} ok, and needs "
                f"{LEAST} of each: label more"
            )
    return fitted, test


def recalibrated(logits: Doubles, examples: Sequence[Example]) -> Calibration:
    """The calibration that fits the examples best. Targets are smoothed by their numbers (Platt 1999, section 2.2).

    Raises ModelError when the classifier orders them backwards.
    """
    targets = smoothed(np.array([example.target for example in examples]))
    weights = np.array([example.weight for example in examples], np.float64)
    return fit(logits, targets, weights)


def logits_of(base: Base, classifier: registry.StoredClassifier, examples: Sequence[Example]) -> Doubles:
    """What the head says (n), before calibration, of the texts as the pipeline would score them."""
    encoder = OpenVinoEncoder(base, classifier.encoder_weights(base))
    texts = [as_scored(example.text) for example in examples]
    return np.asarray(classifier.head.logits(means(texts, encoder, TextTokenizer(base))), np.float64)
