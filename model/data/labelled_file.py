"""A person's own labelled texts: JSON lines or CSV, plain or gzip, with a mapping of columns.

Every row that cannot be used is refused with its line, so that nobody trains on half of what they meant to.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from model.data.example import Example, normalised
from pipeline.errors import SourceError
from pipeline.scoring.kind import as_scored
from pipeline.sources.table import delimiter_of

#: What a label may say.
_BAD = frozenset(("bad", "1", "true", "yes"))
_FINE = frozenset(("ok", "0", "false", "no"))

#: Characters of a cell that CSV may hold.
_CELL = 16 << 20


@dataclass(frozen=True, slots=True)
class Columns:
    """Which field holds what. `group` is what a split must not cut apart (an event, a customer, a day); empty: none.
    `bad` are the labels that mean bad, where they are not those of `labelled`; every other one then means ok."""

    text: str = "text"
    label: str = "label"
    group: str = ""
    bad: frozenset[str] = frozenset()


def labelled(files: Sequence[Path], columns: Columns, say: Callable[[str], None] = lambda _: None) -> list[Example]:
    """The texts of all files, each once as it is scored (a log line by its template), first come first kept.

    Texts that differ in digits alone are one group where there is no column for it: both may be trained on, or both
    held out. A label is bad/ok, 1/0, true/false, yes/no, or a probability between 0 and 1. `say` is told of texts that
    are labelled both bad and ok.

    Raises SourceError that names file and line.
    """
    seen: dict[str, Example] = {}
    disputed: dict[str, str] = {}
    for file in files:
        for example in _file(file, columns):
            scored = as_scored(example.text)
            first = seen.setdefault(scored, example)
            if (first.target > 0.5) != (example.target > 0.5):
                disputed.setdefault(scored, first.text)
    if not seen:
        raise SourceError(f"no texts in {', '.join(map(str, files))}")
    if disputed:
        shown = next(iter(disputed.values()))
        say(
            f"{len(disputed)} of {len(seen)} texts are labelled both bad and ok (log lines count by their template); "
            f"the first label of each counts. One of them: {shown[:80]!r}"
        )
    return list(seen.values())


def _file(path: Path, columns: Columns) -> Iterator[Example]:
    try:
        with _opened(path) as file:
            rows = _table(file, path, columns) if _is_table(path) else _lines(file, path)
            for line, row in rows:
                yield _example(row, columns, path, line)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}, line {_broken(path)} is not UTF-8; make it so: iconv -f latin1 -t utf-8") from error


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _broken(path: Path) -> int:
    """The first line that is not UTF-8."""
    line = 1
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        for raw in file:
            try:
                raw.decode()
            except UnicodeDecodeError:
                break
            line += 1
    return line


def _is_table(path: Path) -> bool:
    return Path(path.name.removesuffix(".gz")).suffix.lower() in (".csv", ".tsv")


def _table(file: TextIO, path: Path, columns: Columns) -> Iterator[tuple[int, Mapping[str, Any]]]:
    csv.field_size_limit(_CELL)
    try:
        delimiter = delimiter_of(file.readline())
    except csv.Error as error:
        raise SourceError(f"{path}, line 1 is no header of a table: {error}") from error
    file.seek(0)
    reader = csv.DictReader(file, delimiter=delimiter, strict=True)
    try:
        wanted_names = [*filter(None, (columns.text, columns.label, columns.group))]
        names = reader.fieldnames = _as_asked(reader.fieldnames or (), wanted_names)
        for wanted in wanted_names:
            if wanted not in names:
                raise SourceError(
                    f"{path} has no column {wanted!r}, it has {', '.join(names) or 'none'}: name yours with "
                    "--text-column, --label-column, --group-column"
                )
        for row in reader:
            _check(row, columns, delimiter, f"{path}, line {reader.line_num}")
            yield reader.line_num, row
    except csv.Error as error:
        # What cannot be read begins after the last row that could.
        raise SourceError(f"{path}, line {reader.line_num + 1} is no CSV: {error}") from error


def _as_asked(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The names of a header, with those that are wanted but for capitals as they are wanted, where just one is that."""
    folded = [name.strip().lower() for name in names]
    asked = {name.lower(): name for name in wanted if name not in names and folded.count(name.lower()) == 1}
    return [asked.get(low, name) for low, name in zip(folded, names, strict=True)]


def _check(row: Mapping[Any, Any], columns: Columns, delimiter: str, where: str) -> None:
    """Refuse a row that was cut at the wrong place. It may lack cells that nobody asks for."""
    if None in row:
        raise SourceError(
            f"{where} has more cells than the header, as from a {delimiter!r} in a text without quotes: add them"
        )
    if columns.group and row[columns.group] is None:
        raise SourceError(f"{where} has fewer cells than the header, none for {columns.group!r}: fill it up")


def _lines(file: TextIO, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{path}, line {number} is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise SourceError(f'{path}, line {number} is no object: write {{"text": "...", "label": "bad"}}')
        yield number, row


def _example(row: Mapping[str, Any], columns: Columns, path: Path, line: int) -> Example:
    text, label = row.get(columns.text), row.get(columns.label)
    if not isinstance(text, str) or not text.strip():
        raise SourceError(f"{path}, line {line} has no text in {columns.text!r}")
    found = row.get(columns.group) if columns.group else None
    group = normalised(text) or text if found is None or found == "" else str(found)
    for what, said in (("text", text), ("group", group)):
        if not _is_whole(said):
            raise SourceError(f"{path}, line {line}: the {what} holds half a character (a lone surrogate): take it out")
    return Example(text, _target(label, columns.bad, path, line), "yours", group)


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _target(label: object, bad: frozenset[str], path: Path, line: int) -> float:
    written = str(label if label is not None else "").strip().lower()
    if bad and written:
        return float(written in bad)
    if written in _BAD:
        return 1.0
    if written in _FINE:
        return 0.0
    try:
        number = float(written)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise SourceError(
            f"{path}, line {line}: the label {label!r} says neither bad nor ok: write bad or ok, 1 or 0, or a "
            "probability, or name those that mean bad with --bad-label"
        )
    return number
