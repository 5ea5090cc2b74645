"""The files of a push: read in place, one after the other or side by side, in runs of items with ids."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.errors import SourceError
from pipeline.instants import EARLIEST_US
from pipeline.pushing.batch import Run
from pipeline.pushing.ids import ContentIds
from pipeline.pushing.times import EventTimes
from pipeline.records import RawRecord
from pipeline.sources.filelog import FileLog
from pipeline.sources.files import source_name
from pipeline.streams import Definition, FileForm

#: Largest number of bytes that a run gathers.
RUN_BYTES = 2**20


class PushFiles:
    """Files as runs of items.

    Ordering: that of each file; files one after the other, or with `times` side by side, the one furthest behind in
    event time first. Idempotence: the same files give the same items and ids. Raises: SourceError, see FileLog.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        definition: Definition,
        *,
        form: FileForm,
        columns: Mapping[str, str],
        source: str | None,
        salt: str = "",
    ) -> None:
        self._columns = columns
        self._source = source
        self._salt = salt
        self._logs = [
            FileLog(
                path,
                partition=str(path),
                form=form,
                columns={**definition.columns, **columns},
                dimensions=definition.dimensions,
                received_us=0,
            )
            for path in paths
        ]

    @property
    def part_read(self) -> float:
        """Which part of the files, as they are stored, was read."""
        size = sum(log.path.stat().st_size for log in self._logs)
        return sum(log.bytes_read for log in self._logs) / max(size, 1)

    def open(self, run_items: int, times: EventTimes | None = None) -> Iterator[Run]:
        """The runs of all files, of at most so many items; with `times` of one each, with its time.

        The beginning of every file is read before it returns. Raises SourceError when one cannot be read, lacks a
        column, or is no table although a column was named.
        """
        opened = [(log, self._begun(log, log.records(run_items if times is None else 512))) for log in self._logs]
        alike = Counter[str]()  # files of one name in one push are not one file
        runs = []
        for log, records in opened:
            source = self._source or source_name(log.path.name)
            runs.append(self._runs(records, source, ContentIds(f"{self._salt}{source}{alike[source] or ''}")))
            alike[source] += 1
        if times is None:
            return (run for each in runs for run in each)
        timed = [_timed(each, times) for each in runs]
        return heapq.merge(*timed, key=lambda run: run.time_us or EARLIEST_US)

    def _begun(self, log: FileLog, records: Iterator[RawRecord]) -> Iterator[RawRecord]:
        first = next(records)
        if self._columns and first.kind == "items" and first.form not in ("row", "broken"):
            raise SourceError(
                f"{log.path} is no table: options that name columns are for CSV; what the fields of JSON are called "
                "stands in the stream file"
            )

        def all_records() -> Iterator[RawRecord]:
            yield first
            yield from records

        return all_records()

    def _runs(self, records: Iterator[RawRecord], source: str, ids: ContentIds) -> Iterator[Run]:
        for record in records:
            if record.kind != "items":
                continue
            payloads: list[bytes] = []
            size = 0
            for payload in record.payloads:
                if payloads and size + len(payload) > RUN_BYTES:
                    yield Run(source, record.form, payloads, ids.of(payloads), record.note)
                    payloads, size = [], 0
                payloads.append(payload)
                size += len(payload)
            yield Run(source, record.form, payloads, ids.of(payloads), record.note)


def _timed(runs: Iterator[Run], times: EventTimes) -> Iterator[Run]:
    """Each item as a run of its own, with its time; an item without one, or out of order, is due with those before."""
    latest_us: int | None = None
    for run in runs:
        for payload, id in zip(run.payloads, run.ids, strict=True):
            time_us = times.of(run.form, payload)
            if time_us is not None and (latest_us is None or time_us > latest_us):
                latest_us = time_us
            yield Run(run.source, run.form, [payload], [id], run.note, latest_us)
