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
        if flow is not None and not self._apply(stream, flow, slices):
            self._flows[stream] = None

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
        """The flow as of the last chunk. Its newest state is that, unless the folder was restored from a backup: what
        follows is then folded again."""

        def definition_of(generation: str) -> Definition:
            return self._definition_of(stream, generation)

        kept = self._archive.state(stream)
        if kept is None:
            number, flow = 0, ScoredFlow(stream, definition_of, run=LIVE_RUN)
        else:
            number, flow = kept[0], ScoredFlow.from_bytes(stream, definition_of, kept[1], run=LIVE_RUN)
        return flow if self._apply(stream, flow, self._archive.slices(stream, number)) else None

    def _apply(self, stream: str, flow: ScoredFlow, slices: Iterable[LoggedSlice]) -> bool:
        """Fold slices; False where one is missing before them."""
        try:
            for one in slices:
                flow.apply(one.scored)
        except RangeGap as gap:
            log.warning(
                "stream_not_folded",
                stream=stream,
                clock=gap.partition,
                why="its history has a hole, or its beginning is not there: its signals are archived, and no states",
            )
            return False
        return True
