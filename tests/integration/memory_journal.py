"""A journal in memory for the tests of sources: what it holds survives the source, and it can fail on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.errors import JournalFull
from pipeline.records import Form, RawRecord


class MemoryJournal:
    """See pipeline.sources.journal_contract. `fail_after` counts down; the append that finds it at 0 raises."""

    def __init__(self) -> None:
        self.records: list[RawRecord] = []
        self.marks: dict[str, str] = {}
        self.fail_after: int | None = None
        self.appends = 0

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
        if self.fail_after is not None:
            if self.fail_after <= 0:
                self.fail_after = None
                raise JournalFull
            self.fail_after -= 1
        self.appends += 1
        start = self.end
        if payloads:
            brought = None if ids is None else list(ids)
            self.records.append(
                RawRecord(start, received_us, form=form, source=source, payloads=list(payloads), ids=brought, note=note)
            )
        for name, value in (marks or {}).items():
            self.marks[name] = value
            if not value:
                del self.marks[name]
        return start, self.end

    @property
    def end(self) -> int:
        return self.records[-1].end if self.records else 0

    @property
    def payloads(self) -> list[bytes]:
        return [payload for record in self.records for payload in record.payloads]
