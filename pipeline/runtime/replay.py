"""Replay of files: the folds over history, isolated.

Each file is a raw partition, read in place; the end of a file is the end of its clock. Nothing is stored and
nothing delivered: the transitions come out in order, the same on every run and whatever the slices. Files are
read side by side, always the one whose clock is furthest behind, so that ticks close as early as they can and
memory does not grow with history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.flow import StreamFlow
from pipeline.ingest.state import Counts
from pipeline.records import LEFT_US, DeadLetter, RawRecord, Transition
from pipeline.runtime.pipeline import fold_records
from pipeline.scoring.scorer import Scorer
from pipeline.sources.filelog import FileLog
from pipeline.sources.files import as_text
from pipeline.streams import Definition, FileForm, adapted

RUN = "replay"


@dataclass(slots=True)
class ReplayStep:
    """What one step of a replay gave. `items` and `bytes_read` count from the start."""

    transitions: list[Transition]
    dead: list[DeadLetter]
    items: int
    bytes_read: int


def partitions_of(paths: Sequence[Path]) -> list[str]:
    """A name for each file: its own, with a number where two are alike."""
    names: list[str] = []
    for path in paths:
        name, n = as_text(path.name), 2
        while name in names:
            name, n = f"{as_text(path.name)}#{n}", n + 1
        names.append(name)
    return names


class FileReplay:
    """A replay of some files as one stream."""

    def __init__(
        self,
        definition: Definition,
        paths: Sequence[Path],
        scorer: Scorer,
        *,
        form: FileForm = "auto",
        as_of_us: Callable[[Path], int],
        slice_items: int,
        buckets: int = 1,
    ) -> None:
        """Prepare to read `paths`. `as_of_us` is the received time of a file's items. Raises SourceError."""
        if not paths:
            raise UsageError("name at least one file to replay")
        names = partitions_of(paths)
        self.definition = adapted(definition, clock="data", clocks=tuple(names), sources=())
        self._flow = StreamFlow(self.definition, run=RUN, buckets=buckets)
        self._scorer = scorer
        self._slice_items = slice_items
        self._logs = {
            name: FileLog(
                path,
                partition=name,
                form=form,
                columns=definition.columns,
                dimensions=self.definition.dimensions,
                received_us=as_of_us(path),
            )
            for name, path in zip(names, paths, strict=True)
        }
        self._readers: dict[str, Iterator[RawRecord]] = {}

    def begin(self) -> None:
        """Read the beginning of each file. Raises SourceError for one that cannot be read as it was asked for."""
        for name, log in self._logs.items():
            rest = log.records(self._slice_items)
            self._readers[name] = chain([next(rest)], rest)

    def steps(self) -> Iterator[ReplayStep]:
        """Fold everything, a slice at a time. Raises SourceError when a file changes while it is read."""
        if not self._readers:
            self.begin()
        readers = self._readers
        while readers:
            name = min(readers, key=self._behind)
            record = next(readers[name], None)
            if record is None:
                del readers[name]
                continue
            scored, transitions = fold_records(self._flow, self._scorer, name, [record])
            dead = [letter for one in scored for letter in one.slice.dead]
            yield ReplayStep(transitions, dead, self.counts.items, sum(log.bytes_read for log in self._logs.values()))

    @property
    def counts(self) -> Counts:
        """What became of all items so far."""
        total = Counts()
        for name in self._logs:
            counts = self._flow.open(name).counts
            total.counted += counts.counted
            total.late += counts.late
            total.duplicates += counts.duplicates
            total.dead += counts.dead
        return total

    def _behind(self, name: str) -> tuple[int, str]:
        watermark_us = self._flow.open(name).watermark_us
        return (-LEFT_US if watermark_us is None else watermark_us, name)
