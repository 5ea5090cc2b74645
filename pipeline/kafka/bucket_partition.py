"""A bucket partition: bucket number b of every generation of every stream, reading partition b of `tallies`. Pure.

A generation whose every clock has moved on to another definition is over. Its row stays, without a state: a name of a
generation never comes back, but its slices may, and without the row the first of them would begin it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec.structs import replace

from pipeline.bucket import Bucket
from pipeline.errors import RangeGap, StateMismatch
from pipeline.kafka.fold_partition import FoldPartition, Hosted
from pipeline.records import TallyBatch, TallySlice, Verdict, VerdictBatch, encode
from pipeline.streams import Definition

#: Bytes that a record of verdicts has at the most, unless a single verdict has more.
MOST_BYTES = 4 * 2**20

#: The definition of (stream, generation).
DefinitionOf = Callable[[str, str], Definition]


def records_of(batch: VerdictBatch, most_bytes: int = MOST_BYTES) -> list[bytes]:
    """A batch as records, in order: one, or several where it is large (a slice may close a thousand ticks)."""
    whole = encode(batch)
    if len(whole) <= most_bytes or len(batch.verdicts) == 1:
        return [whole]
    middle = len(batch.verdicts) // 2
    first = replace(batch, verdicts=batch.verdicts[:middle])
    rest = replace(batch, verdicts=batch.verdicts[middle:], begins=False)
    return records_of(first, most_bytes) + records_of(rest, most_bytes)


class BucketPartition(FoldPartition[Bucket]):
    """The buckets of one partition; delivery, ordering and idempotence as in `FoldPartition`."""

    def __init__(self, number: int, topic_id: str, definition_of: DefinitionOf, rows: Iterable[bytes] = ()) -> None:
        super().__init__(number, topic_id, rows)
        self._definition_of = definition_of

    def apply(self, after: int, offset: int, batch: TallyBatch) -> list[VerdictBatch]:
        """Fold a record, the only one in [after, offset]; the verdicts to send, also where there is a gap.

        Raises StateMismatch for a record of another bucket.
        """
        if not self._is_next(after, offset):
            return []
        if batch.bucket != self.number:
            raise StateMismatch(
                f"a record of bucket {batch.bucket} is in partition {self.number} of tallies; the number of buckets "
                "is fixed when a deployment is made: set TOCSIN_BUCKETS back, or replay into a new deployment"
            )
        said: list[VerdictBatch] = []
        for slice in batch.slices:
            name = (slice.stream, slice.definition)
            hosted = self._of(name, offset)
            if hosted is None:
                continue
            begins, verdicts = self._fold(hosted, slice)
            if verdicts:
                said.append(VerdictBatch(slice.stream, slice.definition, self.number, verdicts, begins))
        self._taken(offset)
        return said

    def _fold(self, hosted: Hosted[Bucket], slice: TallySlice) -> tuple[bool, list[Verdict]]:
        """Whether the bucket had not spoken before, and what it says."""
        if hosted.fold is None:
            definition = self._definition_of(slice.stream, slice.definition)
            hosted.fold = Bucket(definition, self.number, hosted.state or None)
            hosted.state = b""
        begins = hosted.fold.silent
        try:
            verdicts = hosted.fold.apply(slice)
        except RangeGap as gap:
            self._hold(hosted, gap)
            return False, []
        hosted.changed = True
        if hosted.fold.over:
            hosted.over, hosted.fold = True, None
        return begins, verdicts
