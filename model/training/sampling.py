"""Which texts a step of the training sees: batches mixed over sources, the same for the same seed and step.

Nothing is remembered from step to step, so a training that was stopped goes on with the very batches that it would
have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


class MixedBatches:
    """Draws rows so that each source has its share of every epoch, whatever its size, and its weights within it.

    A source is gone through in random order, row by row, before one of its rows comes again; rows of weight w come w
    times as often as those of weight 1 (systematic sampling: Madow 1949).
    """

    def __init__(
        self,
        sources: Sequence[str],
        weights: NDArray[np.floating],
        shares: Mapping[str, float],
        *,
        batch: int,
        seed: int,
    ) -> None:
        """`shares` by source; one without has as much as it has rows. Raises ValueError when there is no row, or every
        weight is 0."""
        names = np.asarray(sources)
        if not len(names) or float(weights.sum()) <= 0:
            raise ValueError("there is nothing to train on")
        found = sorted(set(sources))
        share = np.array([shares.get(name, np.nan) for name in found])
        sizes = np.array([float((names == name).mean()) for name in found])
        share = np.where(np.isnan(share), sizes, share)
        self._shares = share / share.sum()
        self._rows = [np.flatnonzero(names == name) for name in found]
        self._weights = [weights[rows].astype(np.float64) / weights[rows].mean() for rows in self._rows]
        self._batch = batch
        self._seed = seed

    def epoch(self, number: int, steps: int) -> list[Rows]:
        """The rows of each of `steps` steps."""
        draw = np.random.default_rng([self._seed, number])
        counts = np.floor(self._shares * steps * self._batch).astype(int)
        counts[np.argmax(counts)] += steps * self._batch - counts.sum()
        drawn = [
            draw.permutation(_spread(rows, weights, count, draw))
            for rows, weights, count in zip(self._rows, self._weights, counts, strict=True)
        ]
        # Every source is dealt out evenly over the steps.
        places = np.concatenate([(np.arange(len(rows)) + draw.random()) / max(1, len(rows)) for rows in drawn])
        order = np.argsort(places, kind="stable")
        return list(np.concatenate(drawn)[order].reshape(steps, self._batch))


def _spread(rows: Rows, weights: NDArray[np.float64], count: int, draw: np.random.Generator) -> Rows:
    """`count` of the rows, each as often as its weight says, to within one."""
    if not count:
        return rows[:0]
    order = draw.permutation(len(rows))
    ends = np.cumsum(weights[order])
    points = (np.arange(count) + draw.random()) * (ends[-1] / count)
    return np.asarray(rows[order[np.minimum(np.searchsorted(ends, points, side="right"), len(rows) - 1)]])


def by_length(rows: Rows, lengths: NDArray[np.int64], parts: int) -> Iterator[Rows]:
    """The rows of a step in `parts` parts of like length, so that little of each is padding."""
    return iter(np.array_split(rows[np.argsort(lengths[rows], kind="stable")], parts))
