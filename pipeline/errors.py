"""Every error that Tocsin raises on purpose, in one tree.

A class's docstring is its message when none is given; what a caller must read is an attribute, never
text to parse. A message says what was wrong, where, and what to do.
"""

from __future__ import annotations

from pathlib import Path


class TocsinError(Exception):
    """Tocsin cannot go on."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class ConfigurationError(TocsinError):
    """The configuration is not usable; the message names the line and what to write instead."""


class UsageError(TocsinError):
    """The command was called in a way that it does not understand."""


class SourceError(TocsinError):
    """A source cannot be read."""


class OutputFailed(TocsinError):
    """Standard output took less than was written; make room, or name another place for it."""


class BrokenItem(TocsinError):
    """One item cannot be read; it goes to the dead letters with this reason."""

    def __init__(self, reason: str | None = None) -> None:
        self.reason = reason or (self.__doc__ or "").strip()
        super().__init__(self.reason)


class RangeGap(TocsinError):
    """A record does not follow what its fold has covered; the host must rewind to `expected`."""

    def __init__(self, *, partition: str, expected: int, got: int) -> None:
        self.partition = partition
        self.expected = expected
        self.got = got
        super().__init__(f"partition {partition}: expected the record at {expected}, got {got}; rewind")


class UnknownRecord(TocsinError):
    """A stored record has a version that this program does not know; upgrade Tocsin, change no data."""


class StateMismatch(TocsinError):
    """A saved fold state does not belong to this fold."""


class JournalError(TocsinError):
    """The journal cannot take or give a record."""


class JournalFull(JournalError):
    """The disk that holds the journal is full; nothing was accepted: free some space and send again."""


class DataFolderLocked(TocsinError):
    """Another Tocsin process runs on this data folder; stop it, or set TOCSIN_DATA to another folder."""


class StoreUnavailable(TocsinError):
    """Postgres does not answer; the pipeline waits and goes on where it was."""


class ServerStartFailed(TocsinError):
    """A server that Tocsin runs for itself did not start."""


class ModelError(TocsinError):
    """The classifier cannot be loaded or run."""


class ForbiddenAddress(TocsinError):
    """The address of a webhook is not one that Tocsin may call; allow it in `egress_allow` if it should be."""


class NotFound(TocsinError):
    """There is no such thing."""


class JournalDamaged(JournalError):
    """A part of the journal is damaged; restore the file from a backup."""

    def __init__(self, *, path: Path, offset: int, why: str) -> None:
        self.path = path
        self.offset = offset
        super().__init__(
            f"the journal is damaged in {path} at byte {offset}: {why}; nothing was skipped or changed. "
            "Restore this file from a backup"
        )


class KeyReused(JournalError):
    """This idempotency key was used before with another body; send this body under a new key."""


class JournalUnavailable(JournalError):
    """The raw log does not answer; nothing was accepted: send it again later."""


class JournalUncertain(JournalError):
    """The raw log stopped answering before it said whether it has taken this; the same ids or key count it once."""


class BrokerUnavailable(TocsinError):
    """Kafka does not answer; the worker waits and goes on where it was."""


class LogLost(TocsinError):
    """What was read so far and what Kafka holds do not belong together; nothing was skipped."""


class ArchiveError(TocsinError):
    """The archive cannot be written or read."""
