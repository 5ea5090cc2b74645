"""What a source needs of the journal that it writes to: one journal for each source, one raw partition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pipeline.records import Form


class Journal(Protocol):
    """A durable raw log that takes items together with the source's own progress.

    Delivery: what `append` returned for is durable. An append that raised, or that a crash cut short, is either
    wholly in the log, items and marks, or not at all: so a source that goes on from `marks` after a restart
    neither loses nor repeats an item.
    Ordering: items keep the order in which they were appended; positions have no holes.
    Idempotence: none without a `key`; each append is new.
    Raises: JournalFull when the disk is full, JournalError otherwise; then nothing was appended, and the source
    starts again from `marks`.
    """

    @property
    def marks(self) -> Mapping[str, str]:
        """The marks that stand now, by name."""

    def append(
        self,
        *,
        payloads: Sequence[bytes],
        form: Form,
        source: str,
        received_us: int,
        ids: Sequence[str] | None = None,
        key: str | None = None,
        marks: Mapping[str, str] | None = None,
        note: str = "",
    ) -> tuple[int, int]:
        """Append items and set marks, all or nothing; returns their positions `[start, end)`.

        A mark with the value "" is removed. Without payloads only the marks are set. `note` says why an item of
        form "broken" could not be framed.
        """
