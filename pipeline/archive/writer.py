"""Writing the archive, a chunk at a time. See `chunks` for why each is there once, whoever is killed when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipeline.archive.archive import Archive
from pipeline.archive.chunks import Chunk
from pipeline.archive.folding import Folding
from pipeline.archive.tables import LoggedSlice, signal_rows, slice_rows
from pipeline.streams import Definition, Turn


@dataclass(frozen=True, slots=True)
class Written:
    """What a chunk has put into the archive."""

    streams: tuple[str, ...]
    slices: int
    signals: int


class ArchiveWriter:
    """Puts chunks into an archive. `turn_of` gives the definition that a stream's slices call by a name.

    Only one may exist for a folder: see `only_writer`.
    """

    def __init__(self, archive: Archive, turn_of: Callable[[str, str], Turn]) -> None:
        self._archive = archive
        self._turn_of = turn_of
        self._definitions: dict[tuple[str, str], Definition] = {}
        self._folding = Folding(archive, self._definition)

    def write(self, chunk: Chunk, slices: Iterable[LoggedSlice]) -> Written:
        """Write a chunk: all slices in its ranges. The same chunk again gives the same.

        Raises ArchiveError, LogLost where a definition is missing.
        """
        by_stream: dict[str, list[LoggedSlice]] = defaultdict(list)
        for one in sorted(slices, key=lambda one: one[:2]):
            by_stream[one.scored.slice.stream].append(one)
        for stream, found in by_stream.items():
            self._folding.fold(stream, found)
            self._archive.write("signals", stream, chunk.number, signal_rows(found, self._of(stream)))
            self._archive.write("slices", stream, chunk.number, slice_rows(found))
            self._folding.write(stream, chunk.number)
        self._archive.chunks.commit(chunk)
        self._archive.refresh()
        for stream in by_stream:
            self._archive.drop_states(stream)
        every = [one for found in by_stream.values() for one in found]
        return Written(tuple(sorted(by_stream)), len(every), sum(len(one.scored.slice.signals) for one in every))

    def _of(self, stream: str) -> Callable[[str], Definition]:
        return lambda generation: self._definition(stream, generation)

    def _definition(self, stream: str, generation: str) -> Definition:
        """A definition; it is in the archive before anything that names it."""
        found = self._definitions.get((stream, generation))
        if found is None:
            turn = self._turn_of(stream, generation)
            if self._archive.definition(stream, generation) != turn.definition:
                self._archive.write_turn(turn)
            found = self._definitions[stream, generation] = turn.definition
        return found
