"""The raw partitions of the local runtime: one journal for each source of each stream.

Which definition is in force where is itself in the log: when the configuration differs from what a journal last
heard, a "define" record is appended, in the partitions of sources that are gone as well, so that the old
definition's ticks close and nothing that was accepted is left uncounted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

from pipeline import streams
from pipeline.journal.journal import Journal
from pipeline.streams import Definition, SourceDefinition, Turn


class Partitions:
    """The open journals, by partition ("stream/source")."""

    def __init__(self, folder: Path, definitions: Mapping[str, Definition], *, now_us: int) -> None:
        """Open the journals of every configured source and of those that the folder still holds, and record the
        definitions. Raises JournalError, JournalFull."""
        self._stream: dict[str, str] = {}
        self._journals: dict[str, Journal] = {}
        try:
            for definition in definitions.values():
                self._open(folder, definition, now_us)
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[str]:
        return iter(self._journals)

    def __getitem__(self, partition: str) -> Journal:
        return self._journals[partition]

    def stream_of(self, partition: str) -> str:
        return self._stream[partition]

    def first_turn(self, partition: str) -> Turn | None:
        """The turn that a partition began with, while its beginning is still in the log."""
        journal = self._journals[partition]
        if journal.start > 0:
            return None
        first = journal.read(0, 1)[0]
        return streams.from_note(first.note) if first.kind == "define" else None

    def close(self) -> None:
        for journal in self._journals.values():
            journal.close()

    def _open(self, folder: Path, definition: Definition, now_us: int) -> None:
        partitions = list(dict.fromkeys((*definition.clocks, *_found(folder, definition.name))))
        for partition in partitions:
            self._stream[partition] = definition.name
            self._journals[partition] = Journal(folder, partition)
        self._define(partitions, definition, now_us)

    def _define(self, partitions: list[str], definition: Definition, now_us: int) -> None:
        """Bring the partitions of a stream to its definition; all of them go through the same turns.

        A start that died half-way left some a turn ahead: the others get that turn first, then all the next one.
        """
        turns = {p: self._last_turn(p) for p in partitions}
        newest = max((t for t in turns.values() if t is not None), key=lambda t: t.number, default=None)
        if newest is None:
            newest = Turn(1, definition)
        elif newest.definition.version != definition.version:
            self._append(newest, {p: t for p, t in turns.items() if t is not None}, now_us)
            newest = Turn(newest.number + 1, definition)
        self._append(newest, turns, now_us)

    def _append(self, turn: Turn, turns: Mapping[str, Turn | None], now_us: int) -> None:
        for partition, last in turns.items():
            if last is None or last.number < turn.number:
                self._journals[partition].append_control("define", received_us=now_us, note=streams.to_note(turn))

    def _last_turn(self, partition: str) -> Turn | None:
        note = self._journals[partition].last_definition
        return streams.from_note(note) if note else None


def partition_of(definition: Definition, source: SourceDefinition) -> str:
    """The raw partition of a source."""
    return f"{definition.name}/{source.name}"


def _found(folder: Path, stream: str) -> list[str]:
    """The partitions of a stream that have a journal in the folder."""
    if not folder.exists():
        return []
    names = sorted(unquote(entry.name) for entry in folder.iterdir() if entry.is_dir())
    return [name for name in names if name.startswith(f"{stream}/")]
