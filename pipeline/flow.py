"""All folds of one stream in one process, from raw records to surge transitions.

Pure: scoring is the caller's. A runtime reads raw records, calls `ingest`, has the slices scored, records the
scores, calls `detect`, and saves `states` with the positions they are valid at. Where a definition changes, the
old one's buckets end with what they have counted and the new one's begin beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.errors import StateMismatch
from pipeline.generation import Generation
from pipeline.ingest.fold import IngestFold
from pipeline.records import RawRecord, ScoreSlice, SignalSlice, Transition
from pipeline.streams import Definition, Turn
from pipeline.turnover import parts


class StreamFlow:
    """The folds of one stream. `states` are those that an earlier `states()` gave, or empty."""

    def __init__(
        self, definition: Definition, *, run: str, buckets: int, states: Mapping[str, bytes] | None = None
    ) -> None:
        self._definition = definition
        self._run = run
        self._buckets = buckets
        self._states = dict(states or {})
        self._ingests: dict[str, IngestFold] = {}
        self._generations: dict[str, Generation] = {}
        wanted = {name.split("/")[-1] for name in self._states if name.startswith(f"bucket/{definition.name}/")}
        if wanted and wanted != {str(n) for n in range(buckets)}:
            raise StateMismatch(
                f"stream {definition.name} was saved with {len(wanted)} buckets, and {buckets} are configured; "
                f"set TOCSIN_BUCKETS={len(wanted)}, or replay into a new data folder"
            )

    @property
    def definition(self) -> Definition:
        """The definition that is configured; partitions move to it where the log says so."""
        return self._definition

    def open(self, partition: str, turn: Turn | None = None) -> IngestFold:
        """The ingest fold of a partition: where its saved state left off, or at 0 in `turn` (else in a first one)."""
        fold = self._ingests.get(partition)
        if fold is None:
            state = self._states.get(self._ingest_name(partition))
            fold = self._ingests[partition] = IngestFold(turn or Turn(1, self._definition), partition, state)
            self._states.pop(self._ingest_name(partition), None)
        return fold

    def ingest(self, partition: str, records: Sequence[RawRecord]) -> list[SignalSlice]:
        """Fold consecutive records of a partition into slices to be scored. Raises RangeGap."""
        return self.open(partition).apply(records)

    def detect(self, scored: ScoreSlice) -> list[Transition]:
        """Fold a scored slice; the transitions that it causes, in order. Raises RangeGap."""
        return [t for part in parts(scored) for t in self._generation(part.slice).detect(part)]

    def states(self) -> dict[str, bytes]:
        """Every fold's state, to be saved with the positions of its partitions.

        A generation that all its clocks and every partition have left is not among them: it has closed its last tick.
        """
        live: dict[str, bytes] = {self._ingest_name(p): fold.to_bytes() for p, fold in self._ingests.items()}
        in_force = {fold.in_force for fold in self._ingests.values()}
        for name, generation in list(self._generations.items()):
            if generation.finished and name not in in_force:
                del self._generations[name]
            else:
                live.update(generation.states())
        return {**self._states, **live}

    def _ingest_name(self, partition: str) -> str:
        return f"ingest/{self._definition.name}/{partition}"

    def _generation(self, slice: SignalSlice) -> Generation:
        generation = self._generations.get(slice.definition)
        if generation is None:
            definition = self.open(slice.partition).definitions[slice.definition]
            generation = Generation(slice.definition, definition, self._run, self._buckets, self._states)
            self._generations[slice.definition] = generation
            # From now on its state is that of the live folds; what is left in `_states` has not been needed yet.
            own = generation.states()
            self._states = {k: v for k, v in self._states.items() if k not in own}
        return generation
