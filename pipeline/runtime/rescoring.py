"""Recorded signals scored once more, with another classifier: never live, always under that classifier's name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from pipeline.archive.tables import LoggedSlice
from pipeline.records import ScoreSlice, SignalSlice
from pipeline.scoring.scorer import Scorer

#: What is scored at once, so that texts share the classifier's batches.
_SIGNALS, _SLICES = 2048, 512


class Rescoring:
    """Gives slices other scores, in their order. `kind_of` gives the kind of a stream by its slice."""

    def __init__(self, scorer: Scorer, kind_of: Callable[[SignalSlice], str]) -> None:
        self._scorer = scorer
        self._kind_of = kind_of

    def __call__(self, slices: Iterable[LoggedSlice]) -> Iterator[LoggedSlice]:
        """Raises ModelError when the engine cannot run."""
        batch: list[LoggedSlice] = []
        signals = 0
        for one in slices:
            batch.append(one)
            signals += len(one.scored.slice.signals)
            if signals >= _SIGNALS or len(batch) >= _SLICES:
                yield from self._scored(batch)
                batch, signals = [], 0
        yield from self._scored(batch)

    def _scored(self, batch: list[LoggedSlice]) -> Iterator[LoggedSlice]:
        by_kind: defaultdict[str, list[SignalSlice]] = defaultdict(list)
        for one in batch:
            by_kind[self._kind_of(one.scored.slice)].append(one.scored.slice)
        scored: dict[int, ScoreSlice] = {}
        for kind, slices in by_kind.items():
            for slice, again in zip(slices, self._scorer.score_all(slices, kind), strict=True):
                scored[id(slice)] = again
        for one in batch:
            yield LoggedSlice(one.partition, one.offset, scored[id(one.scored.slice)])
