"""The event times of items before anybody has ingested them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline import streams
from pipeline.errors import BrokenItem
from pipeline.ingest.item import Read, json_reader, line_reader
from pipeline.pushing.batch import Run
from pipeline.records import Form
from pipeline.streams import Definition


class EventTimes:
    """Reads the times that items bring, as ingest will."""

    def __init__(self, definition: Definition, received_us: int) -> None:
        self._received_us = received_us
        self._readers: dict[str, Read] = {
            "json": json_reader(definition),
            "row": json_reader(streams.adapted(definition, columns={})),
            "line": line_reader(definition),
        }

    def of(self, form: Form, payload: bytes) -> int | None:
        """The event time of an item; None when it brings none, or cannot be read."""
        read = self._readers.get(form)
        try:
            return read(payload, self._received_us).time_us if read is not None else None
        except (BrokenItem, ValueError, OverflowError, RecursionError):
            return None


class LastTick:
    """Watches the items go by, for the end of the last tick that one of them falls in."""

    def __init__(self, definition: Definition, times: EventTimes) -> None:
        self._definition = definition
        self._times = times
        self._newest_us: int | None = None

    def watched(self, runs: Iterable[Run]) -> Iterator[Run]:
        """The same runs."""
        for run in runs:
            for payload in run.payloads:
                time_us = self._times.of(run.form, payload)
                if time_us is not None and (self._newest_us is None or time_us > self._newest_us):
                    self._newest_us = time_us
            yield run

    def closed_by_us(self) -> int | None:
        """The time of the heartbeat that closes that tick; None when no item had a time."""
        if self._newest_us is None:
            return None
        ticks = self._definition.ticks
        return ticks.end_us(ticks.index(self._newest_us)) + self._definition.lateness_us
