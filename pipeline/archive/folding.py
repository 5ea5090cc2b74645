"""The folds of every archived stream, so that their states can be kept: the archive's own, nobody else's help needed.

A stream whose beginning is not in the archive, or that has a hole, cannot be folded: its signals are archived all the
same, and no states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from alerts.routing import LIVE_RUN
from pipeline.archive.archive import Archive
from pipeline.archive.tables import LoggedSlice
from pipeline.errors import RangeGap
from pipeline.instants import EARLIEST_US
from pipeline.records import LEFT_US
from pipeline.scored_flow import ScoredFlow
from pipeline.streams import Definition

log = structlog.get_logger()

#: (stream, what its slices call a definition) to the definition.
DefinitionOf = Callable[[str, str], Definition]


class Folding:
    """The flows of the streams, as of the last chunk of an archive and of what was folded since."""

    def __init__(self, archive: Archive, definition_of: DefinitionOf) -> None:
        self._archive = archive
        self._definition_of = definition_of
        self._flows: dict[str, ScoredFlow | None] = {}

    def fold(self, stream: str, slices: Iterable[LoggedSlice]) -> None:
        """Fold a stream's slices of one chunk."""
        if stream not in self._flows:
            self._flows[stream] = self._restored(stream)
        flow = self._flows[stream]
        if flow is None:
            return
        try:
            for one in slices:
                flow.apply(one.scored)
        except RangeGap as gap:
            self._flows[stream] = None
            log.warning(
                "stream_not_folded",
                stream=stream,
                clock=gap.partition,
                why="its history has a hole, or its beginning is not there: its signals are archived, and no states",
            )

    def write(self, stream: str, number: int) -> None:
        """Write the state of a stream after chunk `number`, if there is one. Raises ArchiveError."""
        flow = self._flows[stream]
        if flow is None:
            return
        settled_us = flow.settled_us
        if settled_us is None or settled_us == LEFT_US:
            settled_us = max(flow.closed_us, EARLIEST_US)
        self._archive.write_state(stream, number, flow.closed_us, settled_us, flow.to_bytes())

    def _restored(self, stream: str) -> ScoredFlow | None:
        def definition_of(generation: str) -> Definition:
            return self._definition_of(stream, generation)

        newest, state = self._archive.newest(stream), self._archive.state(stream)
        if not newest:
            return ScoredFlow(stream, definition_of, run=LIVE_RUN)
        if state is None or state[0] != newest:
            return None  # it could not be folded then
        return ScoredFlow.from_bytes(stream, definition_of, state[1], run=LIVE_RUN)
