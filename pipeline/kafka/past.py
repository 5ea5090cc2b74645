"""The past of a deployment: its archive and the score log behind it, as replay reads them.

With no Kafka configured it is the archive alone. Raises ConfigurationError where there is neither, or where the two
belong to different deployments; BrokerUnavailable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.archive.archive import Archive
from pipeline.errors import ConfigurationError
from pipeline.kafka.registry import Registry
from pipeline.kafka.score_topic import ScoreTopic
from pipeline.records import ScoreSlice
from pipeline.runtime.history import HistoryReplay, Rescore
from pipeline.settings import Settings
from pipeline.streams import Definition


class Past:
    """What was recorded of a deployment."""

    def __init__(self, settings: Settings) -> None:
        self._archive = Archive(settings.archive_folder)
        self._topic: ScoreTopic | None = None
        self._registry: Registry | None = None
        self._definitions: dict[tuple[str, str], Definition] = {}
        head = self._archive.head
        if settings.kafka:
            self._topic, self._registry = ScoreTopic(settings), Registry(settings)
            self._registry.read()
            if head is not None and head.topic_id != self._topic.id():
                raise ConfigurationError(
                    f"the archive in {self._archive.folder} is that of the topic {head.topic} with the id "
                    f"{head.topic_id}, and {self._topic.name} has another: unset TOCSIN_KAFKA to read the archive "
                    "alone, or set TOCSIN_ARCHIVE"
                )
        elif head is None:
            raise ConfigurationError(
                f"there is no history: set TOCSIN_KAFKA, or TOCSIN_ARCHIVE ({self._archive.folder} holds no archive). "
                "What `tocsin up` has recorded is replayed with --recorded"
            )
        self.name = self._topic.name if self._topic else head.topic if head else ""

    def streams(self) -> list[str]:
        """Every stream that has a history, by name."""
        defined = self._registry.streams() if self._registry else []
        return sorted({*self._archive.streams(), *defined})

    def definition(self, stream: str, generation: str) -> Definition:
        """The definition that a stream's slices call by a name. Raises LogLost."""
        found = self._definitions.get((stream, generation)) or self._archive.definition(stream, generation)
        if found is None:
            if self._registry is None:
                raise ConfigurationError(
                    f"{self._archive.folder} lacks the definition {generation} of stream {stream}; restore its "
                    "definitions/ from a backup"
                )
            found = self._registry.definition(stream, generation)
        self._definitions[stream, generation] = found
        return found

    def replay(
        self, streams: Iterable[str], from_us: int, to_us: int, *, rescore: Rescore | None = None
    ) -> HistoryReplay:
        """A replay of the ticks that begin in `[from_us, to_us)`."""
        return HistoryReplay(
            streams,
            self.definition,
            archive=self._archive,
            log=self._topic,
            from_us=from_us,
            to_us=to_us,
            rescore=rescore,
        )

    def slices(self, stream: str) -> Iterator[ScoreSlice]:
        """Every scored slice of a stream that is still there, in the order of each partition. Raises ArchiveError."""
        for one in self._archive.slices(stream):
            yield one.scored
        if self._topic is None:
            return
        archived = self._archive.head.positions if self._archive.head else {}
        left = {n: (max(archived.get(n, 0), b.start), b.end) for n, b in self._topic.bounds().items()}
        for one in self._topic.read(left):
            if one.scored.slice.stream == stream:
                yield one.scored
