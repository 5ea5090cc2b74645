"""Intake: the threads that read watched directories and feeds into their journals.

One thread a source, so that a slow feed delays nobody. A source that fails is tried again for ever, with one log
line a change of state; while it fails it does not stand at its end, so it gets no heartbeats, its clock stalls,
and people are told.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from pipeline.clock import now_us
from pipeline.errors import JournalError, SourceError
from pipeline.instants import SECOND_US
from pipeline.journal.journal import Journal
from pipeline.runtime.partitions import Partitions, partition_of
from pipeline.sources.feed import FeedPoll
from pipeline.sources.feed_http import http_fetch
from pipeline.sources.watch import DirectoryWatch
from pipeline.streams import Definition, SourceDefinition, adapted_source

log = structlog.get_logger()

#: Seconds between two looks at a directory that had nothing new.
SCAN_EVERY_S = 0.5
#: Seconds before a source that failed is tried again.
RETRY_S = 2.0


class Poll(Protocol):
    """One source, asked again and again."""

    def complete_until(self, now_us: int) -> int | None:
        """The instant until which all that there was is in the journal; None while something is left to read."""

    def once(self) -> float:
        """Read what is there; seconds until the next time. Raises JournalError, SourceError."""


class _Directory:
    def __init__(self, watch: DirectoryWatch) -> None:
        self._watch = watch

    def complete_until(self, now_us: int) -> int | None:
        return now_us if self._watch.at_end else None

    def once(self) -> float:
        return 0.0 if self._watch.scan_once(now_us()) else SCAN_EVERY_S


class _Feed:
    def __init__(self, poll: FeedPoll) -> None:
        self._poll = poll
        self._polled_us: int | None = None

    def complete_until(self, now_us: int) -> int | None:
        # What was published since the last poll is still under way.
        return self._polled_us if self._poll.at_end else None

    def once(self) -> float:
        asked_us = now_us()
        due_us = self._poll.poll_once(asked_us)
        if self._poll.at_end:
            self._polled_us = asked_us
        return max(0.0, (due_us - now_us()) / SECOND_US)


class Intake:
    """The sources of all streams that are polled."""

    def __init__(self, definitions: Mapping[str, Definition], partitions: Partitions) -> None:
        self._stop = threading.Event()
        self._failing: set[str] = set()
        self._polls: dict[str, Poll] = {}
        for definition in definitions.values():
            for source in definition.sources:
                partition = partition_of(definition, source)
                poll = _poll_of(definition, source, partitions[partition])
                if poll is not None:
                    self._polls[partition] = poll
        self._threads = [
            threading.Thread(target=self._run, args=(partition, poll), name=f"intake {partition}", daemon=True)
            for partition, poll in self._polls.items()
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def complete_until(self, partition: str, now_us: int) -> int | None:
        """The instant until which all that a source had is in its journal; None while it is behind or fails. One
        that is pushed to is always complete."""
        poll = self._polls.get(partition)
        if poll is None:
            return now_us
        return None if partition in self._failing else poll.complete_until(now_us)

    def failing(self) -> frozenset[str]:
        """The partitions whose sources failed when they were last tried."""
        return frozenset(self._failing)

    def stop(self, timeout_s: float) -> None:
        """Finish what is being read, and end."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout_s)

    def _run(self, partition: str, poll: Poll) -> None:
        while not self._stop.is_set():
            try:
                wait_s = poll.once()
                if partition in self._failing:
                    self._failing.discard(partition)
                    log.info("source_available", partition=partition)
            except Exception as error:
                if partition not in self._failing:
                    if isinstance(error, (JournalError, SourceError, OSError)):
                        log.warning("source_unavailable", partition=partition, error=str(error))
                    else:  # a mistake of Tocsin's own: the thread must not end with it
                        log.error("source_failed", partition=partition, kind=type(error).__name__, error=str(error))
                self._failing.add(partition)
                wait_s = RETRY_S
            self._stop.wait(wait_s)


def _poll_of(definition: Definition, source: SourceDefinition, journal: Journal) -> Poll | None:
    make: dict[str, Callable[[], Poll]] = {
        "directory": lambda: _Directory(
            DirectoryWatch(adapted_source(definition, source), journal, dimensions=definition.dimensions)
        ),
        "feed": lambda: _Feed(FeedPoll(source, journal, http_fetch)),
    }
    return make[source.kind]() if source.kind in make else None
