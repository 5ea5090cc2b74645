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
from pipeline.runtime.journal import Journal
from pipeline.streams import Definition, SourceDefinition


class Partitions:
    """The open journals, by partition ("stream/source")."""

    def __init__(self, folder: Path, definitions: Mapping[str, Definition], *, now_us: int) -> None:
        """Open the journals of every configured source and of those that the folder still holds, and record the
        definitions. Raises JournalError, JournalFull."""
        self._stream: dict[str, str] = {}
        self._journals: dict[str, Journal] = {}
        for name, definition in definitions.items():
            for partition in (*definition.clocks, *_found(folder, name)):
                if partition not in self._journals:
                    self._stream[partition] = name
                    self._journals[partition] = Journal(folder, partition)
                    self._define(self._journals[partition], definition, now_us)

    def __iter__(self) -> Iterator[str]:
        return iter(self._journals)

    def __getitem__(self, partition: str) -> Journal:
        return self._journals[partition]

    def stream_of(self, partition: str) -> str:
        return self._stream[partition]

    def first_definition(self, partition: str) -> Definition | None:
        """The definition that a partition began with, while its beginning is still in the log."""
        journal = self._journals[partition]
        if journal.start > 0:
            return None
        first = journal.read(0, 1)[0]
        return streams.from_json(first.note) if first.kind == "define" else None

    def close(self) -> None:
        for journal in self._journals.values():
            journal.close()

    def _define(self, journal: Journal, definition: Definition, now_us: int) -> None:
        last = journal.last_definition
        if not last or streams.from_json(last).version != definition.version:
            journal.append_control("define", received_us=now_us, note=streams.to_json(definition))


def partition_of(definition: Definition, source: SourceDefinition) -> str:
    """The raw partition of a source."""
    return f"{definition.name}/{source.name}"


def _found(folder: Path, stream: str) -> list[str]:
    """The partitions of a stream that have a journal in the folder."""
    if not folder.exists():
        return []
    names = sorted(unquote(entry.name) for entry in folder.iterdir() if entry.is_dir())
    return [name for name in names if name.startswith(f"{stream}/")]
