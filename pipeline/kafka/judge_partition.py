"""A judge partition: the judges of the streams whose buckets report to this partition of `verdicts`. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.detect.judge import Judge
from pipeline.errors import RangeGap
from pipeline.kafka.bucket_partition import DefinitionOf
from pipeline.kafka.fold_partition import FoldPartition, Hosted
from pipeline.records import Transition, VerdictBatch


class JudgePartition(FoldPartition[Judge]):
    """The judges of one partition; delivery, ordering and idempotence as in `FoldPartition`."""

    def __init__(
        self,
        number: int,
        topic_id: str,
        definition_of: DefinitionOf,
        *,
        run: str,
        buckets: int,
        rows: Iterable[bytes] = (),
    ) -> None:
        super().__init__(number, topic_id, rows)
        self._definition_of = definition_of
        self._run = run
        self._buckets = buckets

    def apply(self, after: int, offset: int, batch: VerdictBatch) -> list[Transition]:
        """Fold a record, the only one in [after, offset]; the transitions to send, also where there is a gap."""
        if not self._is_next(after, offset):
            return []
        hosted = self._of((batch.stream, batch.generation), offset)
        transitions = [] if hosted is None else self._fold(hosted, batch)
        self._taken(offset)
        return transitions

    def _fold(self, hosted: Hosted[Judge], batch: VerdictBatch) -> list[Transition]:
        if hosted.fold is None:
            definition = self._definition_of(batch.stream, batch.generation)
            if hosted.state:
                hosted.fold = Judge.from_bytes(definition, self._run, self._buckets, hosted.state)
            else:
                hosted.fold = Judge(definition, self._run, self._buckets)
            hosted.state = b""
        transitions: list[Transition] = []
        try:
            if not (batch.begins or hosted.fold.has_heard(batch.bucket)):
                raise RangeGap(
                    partition=f"verdicts of bucket {batch.bucket}", expected=0, got=batch.verdicts[0].first_tick
                )
            for verdict in batch.verdicts:
                transitions += hosted.fold.apply(verdict)
                hosted.changed = True
        except RangeGap as gap:
            self._hold(hosted, gap)
        return transitions
