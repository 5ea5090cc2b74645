"""The pipeline of one process: raw records in, recorded scores and checkpoints out.

Guarantees. `fold` changes memory and appends scores; nothing else outside knows of it until `checkpoint` has
stored everything at once. A process that dies in between starts again from the last checkpoint, drops the scores
recorded after it, and folds the same records again. `checkpoint` waits for a store that is away, as long as it
takes; what it holds back stays in the raw log.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog
from msgspec.structs import replace

from pipeline.clock import now_us
from pipeline.errors import StoreUnavailable
from pipeline.flow import StreamFlow
from pipeline.ingest.fold import IngestFold
from pipeline.journal.score_log import ScoreLog
from pipeline.records import DeadLetter, RawRecord, ScoreSlice, Transition
from pipeline.runtime.checkpoint import Checkpoint, CheckpointStore, Position
from pipeline.scoring.scorer import Scorer
from pipeline.streams import Definition, Turn

log = structlog.get_logger()

#: The part of the time that checkpoints may take, unless a surge waits to be stored.
CHECKPOINT_SHARE = 0.05
#: Seconds between two attempts to reach a store that is away.
RETRY_S = 1.0


def fold_records(
    flow: StreamFlow, scorer: Scorer, partition: str, records: Sequence[RawRecord]
) -> tuple[list[ScoreSlice], list[Transition]]:
    """Take consecutive records of a partition through ingest, scoring and detection."""
    kind = flow.definition.kind
    scored = [scorer.score(slice, kind) for slice in flow.ingest(partition, records)]
    return scored, [t for one in scored for t in flow.detect(one)]


class Pipeline:
    """The flows of several streams with one checkpoint."""

    def __init__(
        self,
        definitions: Mapping[str, Definition],
        *,
        run: str,
        buckets: int,
        scorer: Scorer,
        store: CheckpointStore,
        scores: Path,
        checkpoint_s: float,
    ) -> None:
        """Load the last checkpoint of `run` and go on there. Raises StoreUnavailable, StateMismatch."""
        self._definitions = definitions
        self._scorer = scorer
        self._store = store
        self._scores_folder = scores
        self._checkpoint_s = checkpoint_s
        self._saved, states = store.load()
        # A stream that is not configured any more keeps its states: it may come back, and must not count twice.
        self._resting = {k: v for k, v in states.items() if _stream_of(k) not in definitions}
        self._flows = {
            name: StreamFlow(definition, run=run, buckets=buckets, states=_of_stream(states, name))
            for name, definition in definitions.items()
        }
        self._partitions: dict[str, tuple[str, IngestFold, ScoreLog]] = {}
        self._moved: set[str] = set()
        self._dead: list[tuple[str, str, DeadLetter]] = []
        self._transitions: list[Transition] = []
        self._checkpointed = time.monotonic()
        self._cost_s = 0.0
        #: What `checkpoint` waits for, in one line; empty when it does not.
        self.trouble = ""

    def open(self, stream: str, partition: str, turn: Turn | None = None) -> int:
        """Open a raw partition (its first `definition` counts when nothing was saved); the position to read from."""
        if partition not in self._partitions:
            saved = self._saved.get(partition, Position(stream=stream, partition=partition))
            scores = ScoreLog(self._scores_folder / partition)
            scores.rewind(saved.score_mark)
            fold = self._flows[stream].open(partition, turn)
            fold.remember(scores.recent_ids(fold.definition.remember_ids))
            self._partitions[partition] = (stream, fold, scores)
        return self._partitions[partition][1].position

    def position(self, partition: str) -> Position:
        """Where the folds stand in a partition that is open; ahead of what the last checkpoint stored."""
        stream, fold, _ = self._partitions[partition]
        return Position(
            stream=stream,
            partition=partition,
            position=fold.position,
            counts=replace(fold.counts),  # a copy: the fold goes on counting
            watermark_us=fold.watermark_us,
        )

    def scores(self, partition: str) -> ScoreLog:
        """The recorded scores of an open partition."""
        return self._partitions[partition][2]

    def fold(self, partition: str, records: Sequence[RawRecord]) -> list[Transition]:
        """Fold consecutive records of an open partition. Raises RangeGap, ModelError."""
        stream, _, scores = self._partitions[partition]
        scored, transitions = fold_records(self._flows[stream], self._scorer, partition, records)
        for one in scored:
            # Dead letters are unmasked: they are stored with the checkpoint, for as long as raw items are, not here.
            scores.append(replace(one, slice=replace(one.slice, dead=[])) if one.slice.dead else one)
            self._dead.extend((stream, partition, dead) for dead in one.slice.dead)
        self._moved.add(partition)
        self._transitions.extend(transitions)
        return transitions

    @property
    def due(self) -> bool:
        """Whether to make a checkpoint now: at once for a surge, else seldom enough to cost little."""
        return self.due_in <= 0

    @property
    def due_in(self) -> float:
        """Seconds until the next checkpoint is due; infinity when there is nothing to store."""
        if not self._moved:
            return math.inf
        if self._transitions:
            return 0.0
        wait_s = max(self._checkpoint_s, self._cost_s / CHECKPOINT_SHARE)
        return self._checkpointed + wait_s - time.monotonic()

    def checkpoint(self, stop: Callable[[], bool] = lambda: False) -> bool:
        """Store everything since the last checkpoint. Waits for a store that is away; False when told to stop."""
        if not self._moved:
            return True
        began = time.monotonic()
        marks = {name: self._partitions[name][2].sync() for name in self._moved}
        checkpoint = Checkpoint(
            positions=[self._position_with(name, marks[name]) for name in sorted(self._moved)],
            states=self._resting | {k: v for flow in self._flows.values() for k, v in flow.states().items()},
            dead=self._dead,
            transitions=self._transitions,
        )
        while True:
            try:
                self._store.save(checkpoint, now_us())
                break
            except StoreUnavailable as error:
                if not self.trouble:
                    log.warning("store_unavailable", error=str(error))
                self.trouble = str(error)
                if stop():
                    return False
                time.sleep(RETRY_S)
        away, self.trouble = bool(self.trouble), ""
        if away:
            log.info("store_available")
        self._moved.clear()
        self._dead, self._transitions = [], []
        self._checkpointed = time.monotonic()
        self._cost_s = self._checkpointed - began if not away else self._cost_s
        return True

    def close(self) -> None:
        for _, _, scores in self._partitions.values():
            scores.close()

    def _position_with(self, partition: str, mark: str) -> Position:
        here = self.position(partition)
        return Position(
            stream=here.stream,
            partition=partition,
            position=here.position,
            counts=here.counts,
            watermark_us=here.watermark_us,
            score_mark=mark,
        )


def _stream_of(name: str) -> str:
    """The stream of a fold state: the second part of its name."""
    return name.split("/", 2)[1]


def _of_stream(states: Mapping[str, bytes], stream: str) -> dict[str, bytes]:
    return {name: state for name, state in states.items() if _stream_of(name) == stream}
