"""A generation: buckets and judge of one stream under one definition, for one time that it is in force."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.bucket import Bucket
from pipeline.detect.judge import Judge
from pipeline.records import ScoreSlice, Transition
from pipeline.streams import Definition
from pipeline.tallies import Tallier


class Generation:
    """The folds behind scoring. `in_force` is what slices call the definition; `states` may hold what an earlier
    `states()` gave."""

    def __init__(
        self, in_force: str, definition: Definition, run: str, buckets: int, states: Mapping[str, bytes]
    ) -> None:
        self.definition = definition
        self.name = f"{definition.name}/{in_force}"
        self.buckets = [Bucket(definition, n, states.get(self._bucket_name(n))) for n in range(buckets)]
        self._tallier = Tallier(definition, buckets)
        #: The last tick that a bucket has reported since this object was made.
        self.closed: int | None = None
        saved = states.get(self._judge_name)
        if saved is None:
            self.judge = Judge(definition, run, buckets)
        else:
            self.judge = Judge.from_bytes(definition, run, buckets, saved)

    @property
    def _judge_name(self) -> str:
        return f"judge/{self.name}"

    def _bucket_name(self, number: int) -> str:
        return f"bucket/{self.name}/{number}"

    @property
    def finished(self) -> bool:
        """All its clocks have left: it has closed its last tick."""
        return all(bucket.finished for bucket in self.buckets)

    def detect(self, scored: ScoreSlice) -> list[Transition]:
        """Fold a scored slice; the transitions that it causes, in order. Raises RangeGap."""
        transitions: list[Transition] = []
        for bucket, slice in zip(self.buckets, self._tallier.tally(scored), strict=True):
            for verdict in bucket.apply(slice):
                if not verdict.ends:
                    self.closed = verdict.last_tick
                transitions.extend(self.judge.apply(verdict))
        return transitions

    def states(self) -> dict[str, bytes]:
        """Every fold's state, by name."""
        saved = {self._bucket_name(n): bucket.to_bytes() for n, bucket in enumerate(self.buckets)}
        saved[self._judge_name] = self.judge.to_bytes()
        return saved
