"""Training the head on what a frozen base says of each text. Deterministic: the same seed gives the same weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.calibrate import Calibration, fit, sigmoid
from model.head import Floats, Head, averaged


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSettings:
    """How a head is trained. `dropout` is the share of hidden units that a step leaves out."""

    hidden: int = 128
    epochs: int = 30
    rate: float = 2e-3
    decay: float = 1e-4
    dropout: float = 0.3
    batch: int = 512
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Labelled:
    """Means of the last layers (n, layers, width), targets in [0, 1] (n) and weights (n)."""

    means: Floats
    targets: Floats
    weights: Floats

    def loss(self, head: Head) -> float:
        """The weighted mean cross-entropy."""
        logits = head.logits(self.means)
        losses = np.logaddexp(0, logits) - self.targets * logits
        return float((self.weights * losses).sum() / self.weights.sum())


def train_head(train: Labelled, tune: Labelled, settings: HeadSettings, members: int = 1) -> tuple[Head, Calibration]:
    """The mean of `members` heads from different starts, calibrated on `tune`."""
    heads = [_member(train, tune, settings, settings.seed + number) for number in range(members)]
    head = averaged(heads)
    return head, fit(head.logits(tune.means), tune.targets.astype(np.float64), tune.weights.astype(np.float64))


def _member(train: Labelled, tune: Labelled, settings: HeadSettings, seed: int) -> Head:
    """The head of the epoch that does best on `tune`.

    Adam (Kingma and Ba 2015, algorithm 1) with a cosine rate and inverted dropout on the hidden layer.
    """
    draw = np.random.default_rng(seed)
    inputs = train.means.reshape(len(train.means), -1)
    width = inputs.shape[1]
    # Inputs are standardised, and made about unit length, for training; afterwards that is folded into the head.
    centre = inputs.mean(axis=0)
    spread = (inputs.std(axis=0) + 1e-6) * np.float32(math.sqrt(width))
    inputs = (inputs - centre) / spread
    values: list[Floats] = [
        draw.normal(0, 3 * math.sqrt(2 / width), (width, settings.hidden)).astype(np.float32),
        np.zeros(settings.hidden, np.float32),
        draw.normal(0, 1 / math.sqrt(settings.hidden), settings.hidden).astype(np.float32),
        np.zeros((), np.float32),
    ]
    first = [np.zeros_like(value) for value in values]
    second = [np.zeros_like(value) for value in values]
    batches = max(1, len(inputs) // settings.batch)
    step = 0
    best, best_loss = _folded(values, centre, spread), math.inf
    for _ in range(settings.epochs):
        for rows in np.array_split(draw.permutation(len(inputs)), batches):
            step += 1
            rate = settings.rate * 0.5 * (1 + math.cos(math.pi * step / (batches * settings.epochs)))
            keep = draw.random((len(rows), settings.hidden), np.float32) >= settings.dropout
            gradients = _gradients(
                inputs[rows],
                train.targets[rows],
                train.weights[rows],
                values,
                keep / np.float32(1 - settings.dropout),
                settings.decay,
            )
            for place, gradient in enumerate(gradients):
                first[place] = 0.9 * first[place] + 0.1 * gradient
                second[place] = 0.999 * second[place] + 0.001 * gradient**2
                move = (first[place] / (1 - 0.9**step)) / (np.sqrt(second[place] / (1 - 0.999**step)) + 1e-8)
                values[place] = np.asarray(values[place] - rate * move, np.float32)
        head = _folded(values, centre, spread)
        loss = tune.loss(head)
        if loss < best_loss:
            best, best_loss = head, loss
    return best


def _folded(values: list[Floats], centre: Floats, spread: Floats) -> Head:
    """The head for inputs as they are, from one for inputs less `centre` over `spread`."""
    inner, inner_bias, outer, outer_bias = values
    inner = inner / spread[:, None]
    return Head(inner, inner_bias - centre @ inner, outer, outer_bias)


def _gradients(
    inputs: Floats,
    targets: Floats,
    weights: Floats,
    values: list[Floats],
    mask: NDArray[np.floating],
    decay: float,
) -> list[NDArray[np.floating]]:
    """Of the weighted cross-entropy over a batch, by inner, inner_bias, outer and outer_bias."""
    inner, inner_bias, outer, outer_bias = values
    raw = inputs @ inner + inner_bias
    hidden = np.maximum(raw, 0) * mask
    errors = sigmoid((hidden @ outer + outer_bias).astype(np.float64)) - targets
    errors = (errors * weights / len(inputs)).astype(np.float32)
    back = np.outer(errors, outer) * mask * (raw > 0)
    return [
        inputs.T @ back + decay * inner,
        back.sum(axis=0),
        hidden.T @ errors + decay * outer,
        np.asarray(errors.sum()),
    ]
