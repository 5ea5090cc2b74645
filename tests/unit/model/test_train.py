"""Training the head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from model.calibrate import auroc
from model.training.head_fit import HeadSettings, Labelled, train_head

SETTINGS = HeadSettings(hidden=16, epochs=8, batch=64, seed=3)


def _ring(seed: int) -> Labelled:
    """Points inside a circle are bad: no straight line parts them. Offsets and scales differ by input."""
    draw = np.random.default_rng(seed)
    points = draw.normal(0, 1, (3000, 2, 2)).astype(np.float32)
    bad = (points[:, 0] ** 2).sum(axis=1) < 1.2
    scaled = points * np.array([[10, 0.1], [1, 1]], np.float32) + 5
    return Labelled(scaled.astype(np.float32), bad.astype(np.float32), np.ones(3000, np.float32))


def test_the_same_seed_gives_the_same_weights() -> None:
    one, other = (train_head(_ring(1), _ring(2), SETTINGS) for _ in range(2))
    assert np.array_equal(one[0].inner, other[0].inner)
    assert np.array_equal(one[0].outer, other[0].outer)
    assert one[1] == other[1]


def test_the_head_learns_what_no_line_can_part() -> None:
    head, calibration = train_head(_ring(1), _ring(2), HeadSettings(hidden=32, epochs=20, batch=64))
    test = _ring(3)
    probabilities = calibration.probabilities(head.logits(test.means))
    assert auroc(probabilities, test.targets > 0.5) > 0.97


def test_members_of_an_ensemble_are_averaged() -> None:
    alone = [train_head(_ring(1), _ring(2), replace(SETTINGS, seed=seed))[0] for seed in (3, 4)]
    together, _ = train_head(_ring(1), _ring(2), SETTINGS, members=2)
    means = _ring(3).means
    average = (alone[0].logits(means) + alone[1].logits(means)) / 2
    assert np.allclose(together.logits(means), average, atol=1e-3)


def test_weight_zero_takes_an_example_out() -> None:
    ring = _ring(1)
    noise = np.random.default_rng(9).random(3000) < 0.5
    targets = np.where(noise, 1 - ring.targets, ring.targets).astype(np.float32)
    cleaned = Labelled(ring.means, targets, (~noise).astype(np.float32))
    head, _ = train_head(cleaned, _ring(2), HeadSettings(hidden=32, epochs=20, batch=64))
    test = _ring(3)
    assert auroc(head.logits(test.means).astype(float), test.targets > 0.5) > 0.95
