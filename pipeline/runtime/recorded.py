"""Replay of what was recorded: the raw log and the recorded scores, through the folds once more.

Scores are read, never computed, so the transitions are those that live gave, bit for bit, whatever the slices of
then and now. It reads beside a running pipeline, up to its last checkpoint, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pipeline import streams
from pipeline.errors import JournalError
from pipeline.flow import StreamFlow
from pipeline.journal.census import entries_of
from pipeline.journal.score_log import ScoreLog
from pipeline.records import LEFT_US, RawRecord, ScoreSlice, SignalSlice, Transition
from pipeline.runtime.checkpoint import Position

_SLICE_ITEMS = 4096


class _Recorded(NamedTuple):
    position: int
    probability: float
    topic: str
    model: str


class RecordedScores:
    """The scores of one partition, in the order of its positions. Raises JournalError where one is missing."""

    def __init__(self, log: ScoreLog) -> None:
        self._scores = _by_position(log.read())
        self._folder = log.folder

    def score(self, slice: SignalSlice) -> ScoreSlice:
        """The recorded scores of the signals of a slice; slices must come in order."""
        found = [self._of(signal.position) for signal in slice.signals]
        return ScoreSlice(
            slice=slice,
            model=found[-1].model if found else "",
            probabilities=[one.probability for one in found],
            topics=[one.topic for one in found],
        )

    def _of(self, position: int) -> _Recorded:
        for one in self._scores:
            if one.position == position:
                return one
        raise JournalError(
            f"{self._folder} holds no score for position {position}: the scores and the journal do not belong "
            "together; restore both from one backup"
        )


def replay_recorded(
    journal: Path, scores: Path, positions: Mapping[str, Position], *, run: str, buckets: int
) -> Iterator[Transition]:
    """The transitions of one stream up to `positions`, by partition. Raises JournalError when the raw log's
    beginning is gone: retention has removed it."""
    first: dict[str, RawRecord] = {}
    readers: dict[str, Iterator[RawRecord]] = {}
    for partition, position in positions.items():
        reader = entries_of(journal, partition, position.position, _SLICE_ITEMS)
        record = next(reader, None)
        if record is None:
            continue
        if record.position > 0 or record.kind != "define":
            raise JournalError(
                f"the raw log of {partition} begins at position {record.position}: what was before is past its "
                "retention, so it cannot be replayed from the start"
            )
        first[partition], readers[partition] = record, reader
    if not first:
        return
    definition = streams.from_note(next(iter(first.values())).note).definition
    flow = StreamFlow(definition, run=run, buckets=buckets)
    recorded = {partition: RecordedScores(ScoreLog(scores / partition)) for partition in readers}
    for partition, record in first.items():
        flow.open(partition, streams.from_note(record.note))
        yield from _fold(flow, recorded[partition], partition, record)

    def behind(partition: str) -> tuple[int, str]:
        watermark_us = flow.open(partition).watermark_us
        return (-LEFT_US if watermark_us is None else watermark_us, partition)

    while readers:
        partition = min(readers, key=behind)
        following = next(readers[partition], None)
        if following is None:
            del readers[partition]
        else:
            yield from _fold(flow, recorded[partition], partition, following)


def recorded_slices(scores: Path, positions: Mapping[str, Position]) -> Iterator[ScoreSlice]:
    """The scored slices of these partitions up to `positions`, by partition and in order. Raises JournalError."""
    for partition, position in sorted(positions.items()):
        reached = 0
        for scored in ScoreLog(scores / partition).read() if position.position else ():
            if (reached := scored.slice.end) <= position.position:
                yield scored
            if reached >= position.position:
                break  # what is behind may be being written right now


def _fold(flow: StreamFlow, recorded: RecordedScores, partition: str, record: RawRecord) -> Iterator[Transition]:
    for slice in flow.ingest(partition, [record]):
        yield from flow.detect(recorded.score(slice))


def _by_position(slices: Iterator[ScoreSlice]) -> Iterator[_Recorded]:
    for one in slices:
        for signal, probability, topic in zip(one.slice.signals, one.probabilities, one.topics, strict=True):
            yield _Recorded(signal.position, probability, topic, one.model)
