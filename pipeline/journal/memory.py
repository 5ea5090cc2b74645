"""What a journal remembers of all that was appended: a fold over its entries, saved in every segment's head."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from pipeline.journal.segment import Entry, Head
from pipeline.records import Form


class JournalMemory:
    """The end of the log, its marks, its last idempotency keys and its counters, after the entries applied."""

    def __init__(self, partition: str, remember_keys: int) -> None:
        self.partition = partition
        self.end = 0
        self.accepted = 0
        self.definition = ""
        self.marks: dict[str, str] = {}
        #: The earliest and latest received time in the current segment; None when it has no entry.
        self.oldest_us: int | None = None
        self.newest_us: int | None = None
        self._keys: dict[str, tuple[int, int, bytes]] = {}
        self._remember_keys = remember_keys

    def begin(self, head: Head) -> None:
        """Start from the head of a segment."""
        self.end = head.first
        self.accepted = head.accepted
        self.definition = head.definition
        self.marks = dict(head.marks)
        self._keys = {key: (start, end, digest) for key, start, end, digest in head.keys}
        self.oldest_us = self.newest_us = None

    def apply(self, entry: Entry) -> None:
        """Take in the entry that follows."""
        record = entry.record
        self.end = record.end
        if record.kind == "items":
            self.accepted += len(record.payloads)
        elif record.kind == "define":
            self.definition = record.note
        update_marks(self.marks, entry.marks)
        if entry.key:
            self._keys[entry.key] = (record.position, record.end, entry.digest)
            while len(self._keys) > self._remember_keys:
                del self._keys[next(iter(self._keys))]
        received_us = record.received_us
        self.oldest_us = received_us if self.oldest_us is None else min(self.oldest_us, received_us)
        self.newest_us = received_us if self.newest_us is None else max(self.newest_us, received_us)

    def lookup(self, key: str) -> tuple[int, int, bytes] | None:
        """(start, end, digest) of what was appended under a key, None when it is not remembered."""
        return self._keys.get(key)

    def head(self) -> Head:
        """The head of a segment that begins here."""
        return Head(
            partition=self.partition,
            first=self.end,
            accepted=self.accepted,
            previous_newest_us=self.newest_us or 0,
            definition=self.definition,
            marks=self.marks,
            keys=[(key, *place) for key, place in self._keys.items()],
        )


def update_marks(marks: dict[str, str], changes: Mapping[str, str]) -> None:
    """Set each mark to its new value; an empty value removes it."""
    for name, value in changes.items():
        if value:
            marks[name] = value
        else:
            marks.pop(name, None)


def body_digest(form: Form, payloads: Sequence[bytes]) -> bytes:
    """What tells two bodies under one key apart."""
    digest = hashlib.blake2b(form.encode(), digest_size=16)
    for payload in payloads:
        digest.update(b"%d:" % len(payload))
        digest.update(payload)
    return digest.digest()
