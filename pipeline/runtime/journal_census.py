"""How many items each journal has taken in, read beside a running pipeline without disturbing it.

Independent of the folds: their four counts must add up to this, and `tocsin status` shows both.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import JournalDamaged
from pipeline.records import decode
from pipeline.runtime.journal_segment import Entry, Frames, find_segments, read_head


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
