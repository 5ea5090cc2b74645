"""Journals read beside a running pipeline, without disturbing it.

How many items each has taken in is independent of the folds: their four counts must add up to it, and `tocsin
status` shows both.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import JournalDamaged
from pipeline.journal.journal import journal_folder
from pipeline.journal.reader import cut
from pipeline.journal.segment import Entry, Frames, find_segments, read_head
from pipeline.records import RawRecord, decode


def accepted_items(folder: Path) -> dict[str, int]:
    """Items ever accepted, by partition; only the last segment of each journal is read."""
    accepted: dict[str, int] = {}
    for journal in sorted(folder.iterdir()) if folder.exists() else []:
        segments = find_segments(journal) if journal.is_dir() else []
        if not segments:
            continue
        last = segments[-1]
        try:
            head = read_head(last)
            accepted[head.partition] = head.accepted
            with Frames(last.path) as frames:
                frames.next(last.size)
                while (body := frames.next(last.size)) is not None:
                    record = decode(body, Entry).record
                    if record.kind == "items":
                        accepted[head.partition] += len(record.payloads)
        except JournalDamaged:
            continue  # the end is being written right now: what is behind it was not acknowledged yet
    return accepted


def entries_of(folder: Path, partition: str, end: int, max_items: int) -> Iterator[RawRecord]:
    """The raw records of a partition before position `end`, oldest first, each of at most `max_items` items.

    Reads beside a running pipeline. Raises JournalDamaged.
    """
    for segment in find_segments(journal_folder(folder, partition)):
        with Frames(segment.path) as frames:
            frames.next(segment.size)
            while (body := frames.next(segment.size)) is not None:
                record = decode(body, Entry).record
                for start in range(record.position, min(record.end, end), max_items):
                    yield cut(record, start, min(start + max_items, record.end, end))
                if record.end >= end:
                    return
