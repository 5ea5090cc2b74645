"""The archive: the score log in Parquet, by stream and day of event time, kept for as long as its folder is.

    signals/stream=S/day=2026-11-24/00000012.parquet   a row for each signal with its score, of chunk 12
    slices/stream=S/day=2026-11-24/00000012.parquet    a row for each slice
    states/stream=S/day=2026-11-24/00000012.parquet    the stream's folds after that chunk
    definitions/stream=S/00001.json                    the stream's definitions, by turn
    commits/00000012.json                              that chunk 12 is part of the archive, and what it covers

Delivery: a chunk's rows are part of the archive once, when its commit is there; files of a later number are those of
a chunk that is still written, or that will be written over. Readers need no lock and see whole chunks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from pipeline import streams
from pipeline.archive.chunks import Chunk, Chunks
from pipeline.archive.files import file_errors, read_table, write_bytes, write_table
from pipeline.archive.tables import STATES, LoggedSlice, day_of, rebuilt
from pipeline.errors import ArchiveError
from pipeline.streams import Definition, Turn


class Archive:
    """The archive in a folder, as of the last chunk that is part of it when this object is made or `refresh`ed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.chunks = Chunks(folder)
        self.refresh()

    def refresh(self) -> Chunk | None:
        """See the chunks that have come since; the last one. Raises ArchiveError."""
        self.head = self.chunks.head()
        return self.head

    @property
    def last(self) -> int:
        """The number of the last chunk; 0 for an empty archive."""
        return 0 if self.head is None else self.head.number

    def streams(self) -> list[str]:
        """Every stream of which something is archived."""
        return sorted(path.name.removeprefix("stream=") for path in (self.folder / "slices").glob("stream=*"))

    def slices(self, stream: str, after: int = 0) -> Iterator[LoggedSlice]:
        """A stream's slices in the chunks after one, in an order in which they can be folded. Raises ArchiveError."""
        slices, signals = (_by_number(self._files(table, stream)) for table in ("slices", "signals"))
        for number in sorted(n for n in slices if after < n <= self.last):
            found = [[read_table(path) for path in places.get(number, ())] for places in (slices, signals)]
            yield from rebuilt(stream, *found)

    def state(self, stream: str, closed_by_us: int | None = None) -> tuple[int, bytes] | None:
        """The newest state of a stream's folds, and after which chunk it is valid; with `closed_by_us` the newest whose
        last tick ended by then. Raises ArchiveError."""
        for number, path in sorted(self._files("states", stream), reverse=True):
            if number > self.last:
                continue
            try:
                if closed_by_us is None or _value(path, "closed_us") <= closed_by_us:
                    return number, _value(path, "state")
            except ArchiveError as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    raise  # else the archiver has removed it since: there is an older one
        return None

    def write(self, table: str, stream: str, number: int, days: dict[str, pa.Table]) -> None:
        """A chunk's rows of one table. Raises ArchiveError."""
        for day, rows in days.items():
            write_table(self._path(table, stream, day, number), rows)

    def write_state(self, stream: str, number: int, closed_us: int, settled_us: int, state: bytes) -> None:
        """The state of a stream's folds after a chunk. Raises ArchiveError."""
        row = pa.Table.from_pylist([{"closed_us": closed_us, "settled_us": settled_us, "state": state}], schema=STATES)
        write_table(self._path("states", stream, day_of(settled_us), number), row)

    def drop_states(self, stream: str) -> None:
        """Keep of a stream's states the first of each day and the newest. Raises ArchiveError."""
        found = sorted(self._files("states", stream))
        firsts: dict[Path, int] = {}
        for number, path in found:
            firsts.setdefault(path.parent, number)
        for number, path in found:
            if number != firsts[path.parent] and number != found[-1][0]:
                with file_errors(path):
                    path.unlink(missing_ok=True)

    def forget(self, stream: str, before_us: int) -> int:
        """Remove what a replay of ticks from an instant on does not need; how many files. Raises ArchiveError.

        That is everything up to the newest state from before it. Where no state is kept, it is the chunks in which
        nothing is as late as that day.
        """
        kept = self.state(stream, closed_by_us=before_us)
        if kept is not None:
            number = kept[0]
        else:
            later = [n for n, path in self._files("slices", stream) if path.parent.name >= f"day={day_of(before_us)}"]
            number = 0 if self._files("states", stream) else min([self.last + 1, *later]) - 1
        removed = 0
        for table in ("states", "slices", "signals"):
            for n, path in self._files(table, stream):
                if n < number or (n == number and table != "states"):
                    with file_errors(path):
                        path.unlink(missing_ok=True)
                    removed += 1
        return removed

    def drop_chunk(self, number: int) -> None:
        """Remove the tables of a chunk that is no part of the archive. Raises ArchiveError."""
        for path in self.folder.glob(f"*/stream=*/day=*/{number:08d}.parquet"):
            with file_errors(path):
                path.unlink(missing_ok=True)

    def turns(self, stream: str) -> list[Turn]:
        """The archived definitions of a stream, in order. Raises ArchiveError."""
        found = []
        for path in sorted((self.folder / "definitions" / f"stream={stream}").glob("*.json")):
            with file_errors(path):
                note = path.read_text("utf-8")
            try:
                found.append(streams.from_note(note))
            except msgspec.MsgspecError as error:
                raise ArchiveError(f"{path} is damaged: {error}; restore it from a backup") from None
        return found

    def write_turn(self, turn: Turn) -> None:
        """Keep a definition. Raises ArchiveError."""
        folder = self.folder / "definitions" / f"stream={turn.definition.name}"
        write_bytes(folder / f"{turn.number:05d}.json", streams.to_note(turn).encode())

    def definition(self, stream: str, generation: str) -> Definition | None:
        """The archived definition that a stream's slices call by a name. Raises ArchiveError."""
        return next((turn.definition for turn in self.turns(stream) if turn.name == generation), None)

    def _files(self, table: str, stream: str) -> list[tuple[int, Path]]:
        folder = self.folder / table / f"stream={stream}"
        return [(int(path.stem), path) for path in folder.glob("day=*/*.parquet") if path.stem.isdecimal()]

    def _path(self, table: str, stream: str, day: str, number: int) -> Path:
        return self.folder / table / f"stream={stream}" / f"day={day}" / f"{number:08d}.parquet"


def _value(path: Path, column: str) -> Any:
    """The one value of a column."""
    return read_table(path, [column]).column(column)[0].as_py()


def _by_number(found: Sequence[tuple[int, Path]]) -> dict[int, list[Path]]:
    places: dict[int, list[Path]] = {}
    for number, path in found:
        places.setdefault(number, []).append(path)
    return places
