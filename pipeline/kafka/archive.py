"""`tocsin archive`: the score log on Kafka into Parquet, each signal once, whoever is killed when.

Delivery: each chunk of the log becomes part of the archive once; a run that was killed is finished by the next one.
Ordering: chunks follow one another without a gap. What retention removed before it was archived is an error, never a
silent hole; `accept_hole` goes on behind it and notes that it is there.
Idempotence: whatever is archived already is not read again.
Raises: LogLost, BrokerUnavailable, ArchiveError, ConfigurationError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain, islice

import structlog

from pipeline.archive.archive import Archive
from pipeline.archive.chunks import Chunk
from pipeline.archive.tables import LoggedSlice
from pipeline.archive.writer import ArchiveWriter, Written
from pipeline.errors import ConfigurationError, LogLost
from pipeline.kafka.cluster import Bounds
from pipeline.kafka.registry import Registry
from pipeline.kafka.score_topic import ScoreTopic
from pipeline.streams import Turn, turn_number

log = structlog.get_logger()

#: Signals in one chunk, and slices: what is in memory, and how much one file of a quiet day holds.
MOST_SIGNALS = 100_000
MOST_SLICES = 100_000

_LOST = (
    "Nothing was skipped. Restore the topic, or call `tocsin archive --from-log-start` once: it goes on behind what "
    "was lost, and replay cannot cross the hole. Archive more often than history_days"
)


class Archiver:
    """Brings an archive up to the end of the score log. The caller holds `only_writer`."""

    def __init__(self, archive: Archive, topic: ScoreTopic, registry: Registry) -> None:
        self._archive = archive
        self._topic = topic
        self._registry = registry
        self._writer = ArchiveWriter(archive, self._turn)
        #: Which part (0 to 1) of what there is to do is done.
        self.part = 0.0

    def run(self, *, accept_hole: bool = False, stopped: Callable[[], bool] = lambda: False) -> Iterator[Written]:
        """Archive what the log holds as of now, a chunk at a time."""
        plan = self._archive.chunks.planned()
        topic_id = self._topic.id()
        self._check_topic(topic_id, plan or self._archive.head)
        if plan is not None and (finished := self._finish(plan, accept_hole)) is not None:
            yield finished
        bounds, positions, hole = self._start(accept_hole)
        size = sum(b.end - positions[n] for n, b in bounds.items())
        with closing(self._topic.read({n: (position, bounds[n].end) for n, position in positions.items()})) as slices:
            following = next(slices, None)
            while following is not None and not stopped():
                found = list(_some(chain([following], slices)))
                following = next(slices, None)
                if following is None:  # what is left are markers of transactions
                    after = {n: b.end for n, b in bounds.items()}
                else:
                    after = positions | {one.partition: one.offset + 1 for one in found}
                chunk = Chunk(
                    number=self._archive.last + 1,
                    topic=self._topic.name,
                    topic_id=topic_id,
                    ranges={n: (positions[n], end) for n, end in after.items() if end > positions[n]},
                    positions=after,
                    hole=hole,
                )
                self._archive.chunks.plan(chunk)
                written = self._writer.write(chunk, found)
                positions, hole = after, False
                self.part = 1 - sum(b.end - positions[n] for n, b in bounds.items()) / size
                yield written

    def _finish(self, plan: Chunk, accept_hole: bool) -> Written | None:
        """Write what another run was killed in."""
        bounds = self._topic.bounds()
        lost = {n for n, (start, _) in plan.ranges.items() if bounds[n].start > start}
        if lost:
            if not accept_hole:
                raise LogLost(
                    f"chunk {plan.number} of the archive was begun and not finished, and "
                    f"{self._topic.name}/{min(lost)} holds no longer all of it: it is past its retention. {_LOST}"
                )
            self._archive.drop_chunk(plan.number)
            self._archive.chunks.give_up(plan)
            return None
        log.info("archive_chunk_finished", chunk=plan.number)
        return self._writer.write(plan, list(self._topic.read(plan.ranges)))

    def _start(self, accept_hole: bool) -> tuple[dict[int, Bounds], dict[int, int], bool]:
        """The bounds of the log, from where it is read, and whether a hole lies before that."""
        kept = self._archive.head.positions if self._archive.head else {}
        bounds = self._topic.bounds() if accept_hole else self._topic.check_holds(kept, _LOST)
        positions = {n: max(kept.get(n, 0), b.start) for n, b in bounds.items()}
        return bounds, positions, any(position > kept.get(n, 0) for n, position in positions.items())

    def _check_topic(self, topic_id: str, head: Chunk | None) -> None:
        if head is not None and (head.topic, head.topic_id) != (self._topic.name, topic_id):
            same = head.topic == self._topic.name
            what = "a topic of this name that was deleted since" if same else head.topic
            raise ConfigurationError(
                f"the archive in {self._archive.folder} is that of {what}, not of {self._topic.name}; set "
                "TOCSIN_ARCHIVE to another folder, and keep this one: replay reads it without Kafka"
            )

    def _turn(self, stream: str, generation: str) -> Turn:
        return self._registry.turn(stream, turn_number(generation))


def _some(slices: Iterator[LoggedSlice]) -> Iterator[LoggedSlice]:
    """A chunk's worth."""
    signals = 0
    for one in islice(slices, MOST_SLICES):
        yield one
        signals += len(one.scored.slice.signals)
        if signals >= MOST_SIGNALS:
            return
