"""What all engines share: scores in order, and one second look at the texts of a whole call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from model import registry
from model.base import DEPTH, find_base
from model.calibrate import Calibration
from model.engines.encoder_engine import EncoderEngine
from model.head import Head
from pipeline.scoring.engine import Tokens

HIDDEN = 384


class _Sums:
    """An encoder whose means are the sum of the tokens; `wrong` is how far it is off. It notes what it was asked."""

    name = "sums"
    precision = "rough"

    def __init__(self, wrong: float) -> None:
        self._wrong = wrong
        self.asked: list[list[int]] = []

    def means(self, batch: Sequence[Tokens]) -> NDArray[np.float32]:
        self.asked.append([sum(tokens) for tokens in batch])
        sums = np.array([sum(tokens) + self._wrong for tokens in batch], np.float32)
        return np.broadcast_to(sums[:, None, None], (len(batch), DEPTH, HIDDEN)).copy()

    def means_of_each(self, batches: Iterable[Sequence[Tokens]]) -> Iterator[NDArray[np.float32]]:
        return map(self.means, batches)


def _engine(rough: _Sums, exact: _Sums) -> EncoderEngine:
    """Probability: sigmoid of (the sum - 10) / 100, so that sums near 10 are nearly undecided."""
    stored = registry.load()
    inner = np.zeros((DEPTH * HIDDEN, 1), np.float32)
    inner[0] = 1
    head = Head(inner, np.zeros(1, np.float32), np.ones(1, np.float32), np.array(-10, np.float32))
    scale = Calibration(scale=0.01, shift=0.0)
    said = msgspec.structs.replace(stored.description, scale=scale.scale, shift=scale.shift)
    return EncoderEngine(rough, find_base(), registry.StoredClassifier(said, head), lambda: exact)


def test_the_second_look_is_taken_once_for_all_batches_and_scores_stay_in_order() -> None:
    rough, exact = _Sums(0.5), _Sums(0.0)
    engine = _engine(rough, exact)
    rough.asked.clear()
    batches: list[list[Tokens]] = [[(9,), (500,)], [(11,)], [(700,), (10,)]]
    found = [[score.probability for score in scores] for scores in engine.score_each(batches)]
    assert rough.asked == [[9, 500], [11], [700, 10]]
    assert exact.asked == [[9, 11, 10]]
    expected = [[-0.01, 4.905], [0.01], [6.905, 0.0]]
    assert [[round(float(np.log(p / (1 - p))), 3) for p in scores] for scores in found] == expected


def test_what_says_nothing_is_about_nothing() -> None:
    engine = _engine(_Sums(0.0), _Sums(0.0))
    texts = ["", "  ", "\U0001f9a4", "\ud800", "hello", "\U0001f9a4 flood"]
    topics = [score.topic for score in engine.score(engine.encode(texts, "news"))]
    assert topics[:3] == ["other"] * 3
    assert "other" not in topics[4:]


def test_a_call_without_batches_gives_nothing() -> None:
    engine = _engine(_Sums(0.0), _Sums(0.0))
    assert list(engine.score_each([])) == []
    assert engine.score([]) == []
