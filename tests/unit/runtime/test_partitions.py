"""Partitions: every journal of a stream goes through the same definitions, whatever dies when."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import streams
from pipeline.errors import JournalError
from pipeline.instants import MINUTE_US
from pipeline.journal.journal import Journal
from pipeline.runtime.partitions import Partitions
from pipeline.streams import Definition, SourceDefinition, adapted

A = Definition(
    name="s",
    kind="logs",
    tick_us=MINUTE_US,
    clocks=("s/p", "s/q"),
    sources=(SourceDefinition(name="p", kind="push"), SourceDefinition(name="q", kind="push")),
)
B = adapted(A, tick_us=2 * MINUTE_US)


def start(folder: Path, definition: Definition) -> dict[str, list[tuple[int, str]]]:
    """Open the partitions and close them again; the turns that each journal holds."""
    partitions = Partitions(folder, {"s": definition}, now_us=1)
    try:
        return {p: turns(partitions[p]) for p in partitions}
    finally:
        partitions.close()


def turns(journal: Journal) -> list[tuple[int, str]]:
    notes = [streams.from_note(r.note) for r in journal.read(journal.start, 10_000) if r.kind == "define"]
    return [(turn.number, turn.definition.version) for turn in notes]


def test_a_new_partition_begins_with_its_definition(tmp_path: Path) -> None:
    assert start(tmp_path, A) == {p: [(1, A.version)] for p in A.clocks}


def test_the_same_definition_is_not_written_again(tmp_path: Path) -> None:
    assert start(tmp_path, A) == start(tmp_path, A)


def test_a_definition_that_comes_back_is_another_turn(tmp_path: Path) -> None:
    for definition in (A, B, A):
        found = start(tmp_path, definition)
    assert found == {p: [(1, A.version), (2, B.version), (3, A.version)] for p in A.clocks}


def test_a_source_that_comes_later_begins_in_the_turn_of_the_others(tmp_path: Path) -> None:
    only_p = adapted(A, clocks=("s/p",))
    start(tmp_path, only_p)
    assert start(tmp_path, A) == {"s/p": [(1, only_p.version), (2, A.version)], "s/q": [(2, A.version)]}


def test_a_source_that_is_gone_hears_of_the_change(tmp_path: Path) -> None:
    only_p = adapted(A, clocks=("s/p",))
    start(tmp_path, A)
    assert start(tmp_path, only_p)["s/q"] == [(1, A.version), (2, only_p.version)]


def test_a_start_that_died_half_way_is_made_up_for_even_when_the_file_was_changed_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(tmp_path, A)
    append = Journal.append_control

    def dying(journal: Journal, *arguments: object, **named: object) -> object:
        if journal.partition == "s/q":
            raise JournalError("killed here")
        return append(journal, *arguments, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append_control", dying)
        with pytest.raises(JournalError):
            Partitions(tmp_path, {"s": B}, now_us=1)
    found = start(tmp_path, A)
    assert found == {p: [(1, A.version), (2, B.version), (3, A.version)] for p in A.clocks}
