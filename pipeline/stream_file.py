"""The stream file: TOML that defines streams and topics.

A file that is not usable is refused as a whole, with its line and what to write instead.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from pipeline.durations import parse_duration
from pipeline.errors import ConfigurationError
from pipeline.instants import MINUTE_US
from pipeline.stream_rules import broken_rule, broken_source_rule, nearest, reads_the_same, unknown_field
from pipeline.streams import Definition, SourceDefinition

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
# Settings that the file writes as a duration, and the field each fills.
_STREAM_DURATIONS = {f: f"{f}_us" for f in ("tick", "lateness", "max_ahead", "idle_after", "stall_after")}
_SOURCE_DURATIONS = {"every": "every_us"}
_DERIVED = {"name", "clocks"}
_LARGEST = 10**9


@dataclass(frozen=True, slots=True)
class StreamFile:
    """What a stream file says: the definitions by name, and the topics (name to example phrases) if it sets
    them."""

    streams: Mapping[str, Definition]
    topics: Mapping[str, list[str]] | None


def default_text() -> str:
    """The built-in stream file."""
    return resources.files("pipeline").joinpath("default_streams.toml").read_text(encoding="utf-8")


def load(path: Path | None) -> StreamFile:
    """The stream file at `path`, or the built-in one. Raises ConfigurationError with the line."""
    if path is None:
        return parse(default_text(), "the built-in streams")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(
            f"there is no file {path}; name the stream file with --streams, TOCSIN_STREAMS or `streams` in tocsin.toml"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    return parse(text, str(path))


def parse(text: str, where: str) -> StreamFile:
    """The streams and topics in `text`; `where` names it in errors."""
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{where}: {error}") from None
    reader = _Reader(text, where)
    for name in content:
        if name not in ("streams", "topics"):
            raise reader.refuse((), name, f"unknown table; {nearest(name, ['streams', 'topics'])}")
    streams = content.get("streams", {})
    if not isinstance(streams, dict) or not streams:
        raise reader.refuse((), "streams", "no stream is defined; write a table [streams.NAME]")
    definitions = {name: reader.stream(name, table) for name, table in streams.items()}
    topics = content.get("topics")
    if topics is not None:
        reader.check_topics(topics)
    return StreamFile(streams=definitions, topics=topics)


class _Reader:
    """Turns tables into definitions, and knows on which line of the text each setting stands."""

    def __init__(self, text: str, where: str) -> None:
        self._lines = text.splitlines()
        self._where = where

    def refuse(self, table: tuple[str, ...], setting: str, why: str) -> ConfigurationError:
        path = ".".join((*table, setting)) if setting else ".".join(table)
        return ConfigurationError(f"{self._where}, line {self._line(table, setting)}: {path}: {why}")

    def stream(self, name: str, table: Any) -> Definition:
        place = ("streams", name)
        if not _NAME.fullmatch(name):
            raise self.refuse(place, "", "a stream's name is small letters, digits, '-' and '_'; rename it")
        if not isinstance(table, dict):
            raise self.refuse(place, "", f"write a table: [streams.{name}]")
        given = dict(table)
        sources = tuple(self._source(place, i, s) for i, s in enumerate(self._list(place, given.pop("sources", []))))
        names = [s.name for s in sources]
        for repeated in {n for n in names if names.count(n) > 1}:
            raise self.refuse(place, "sources", f"two sources are named {repeated!r}; give each its own name")
        fields = self._fields(place, given, Definition, _STREAM_DURATIONS)
        for needed, example in (("kind", '"news", "logs", "health" or "indicator"'), ("tick_us", '"5m"')):
            if needed not in fields:
                setting = needed.removesuffix("_us")
                raise self.refuse(place, setting, f"is missing; write for example {setting} = {example}")
        # A clock that runs ahead closes ticks for all: by default, no further than a tick waits for the late.
        fields.setdefault("max_ahead_us", max(fields.get("lateness_us", 0), MINUTE_US))
        definition = Definition(
            name=name, clocks=tuple(f"{name}/{source}" for source in names), sources=sources, **fields
        )
        self._check(place, definition)
        return definition

    def _source(self, place: tuple[str, ...], number: int, table: Any) -> SourceDefinition:
        place = (*place, "sources", str(number))
        if not isinstance(table, dict):
            raise self.refuse(place, "", f"write [[{'.'.join(place[:-1])}]]")
        fields = self._fields(place, dict(table), SourceDefinition, _SOURCE_DURATIONS)
        kind = fields.get("kind")
        if kind is None:
            raise self.refuse(place, "kind", 'is missing; write "push", "directory" or "feed"')
        name = fields.setdefault("name", kind)
        if not _NAME.fullmatch(name):
            raise self.refuse(place, "name", f"{name!r}: use small letters, digits, '-' and '_'")
        for needed, of in (("path", "directory"), ("url", "feed")):
            if kind == of and not fields.get(needed):
                raise self.refuse(place, needed, f"is missing; a {of} source needs it")
        broken = broken_source_rule(source := SourceDefinition(**fields))
        if broken:
            raise self.refuse(place, *broken)
        return source

    def _fields(
        self, place: tuple[str, ...], given: dict[str, Any], kind: type[Any], durations: Mapping[str, str]
    ) -> dict[str, Any]:
        hints = get_type_hints(kind)
        known = {f for f in kind.__struct_fields__ if f not in _DERIVED or kind is SourceDefinition}
        names = sorted((known - set(durations.values()) - {"sources"}) | set(durations))
        fields: dict[str, Any] = {}
        for setting, value in given.items():
            if setting not in names:
                raise self.refuse(place, setting, f"unknown setting; {nearest(setting, names)}")
            if setting in durations:
                try:
                    fields[durations[setting]] = parse_duration(value)
                except (ValueError, TypeError) as error:
                    raise self.refuse(place, setting, str(error)) from None
            else:
                fields[setting] = self._typed(place, setting, value, hints[setting])
        return fields

    def _typed(self, place: tuple[str, ...], setting: str, value: Any, hint: Any) -> Any:
        choices = [c for c in get_args(hint) if isinstance(c, str)]
        if choices:
            if value not in choices:
                wanted = ", ".join(f'"{c}"' for c in choices)
                raise self.refuse(place, setting, f"{value!r} is not one of {wanted}")
            return value
        origin = get_origin(hint) or hint
        if origin is tuple:
            if isinstance(value, str):
                value = [value]
            inner = get_args(hint)[0]
            return tuple(self._typed(place, setting, v, inner) for v in self._list(place, value, setting))
        if origin is dict:
            if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
                raise self.refuse(place, setting, 'write a table of names: { time = "ts", text = "message" }')
            return value
        if origin is date:
            if type(value) is not date:
                raise self.refuse(place, setting, "write a date without quotes: 2001-01-01")
            return value
        wanted_type: tuple[type, ...] = (int, float) if origin is float else (origin,)
        if not isinstance(value, wanted_type) or (isinstance(value, bool) and origin is not bool):
            example = {str: '"text"', int: "10", float: "0.5", bool: "true or false"}[origin]
            raise self.refuse(place, setting, f"{value!r} has the wrong type; write for example {example}")
        if isinstance(value, (int, float)) and not abs(value) <= _LARGEST:  # also what is no number
            raise self.refuse(place, setting, f"must be a number of at most {_LARGEST:,}")
        return float(str(value)) if origin is float else value

    def _list(self, place: tuple[str, ...], value: Any, setting: str = "sources") -> list[Any]:
        if not isinstance(value, list):
            raise self.refuse(place, setting, f"{value!r} is not a list; write [ ... ]")
        return value

    def _check(self, place: tuple[str, ...], d: Definition) -> None:
        """Refuse values that have the right type and still make no sense."""
        broken = broken_rule(d)
        if broken:
            raise self.refuse(place, *broken)
        if unknown := unknown_field(d.columns, d):
            raise self.refuse(place, "columns", unknown)
        for number, source in enumerate(d.sources):
            if unknown := unknown_field(source.columns, d):
                raise self.refuse((*place, "sources", str(number)), "columns", unknown)
            first = next((s.name for s in d.sources[:number] if reads_the_same(s, source)), "")
            if first:
                why = f"source {first!r} reads the same files: each item would count twice; keep one of them"
                raise self.refuse((*place, "sources", str(number)), "path", why)

    def check_topics(self, topics: Any) -> None:
        if not isinstance(topics, dict) or not topics:
            raise self.refuse((), "topics", 'write a table: [topics] and lines like finance = ["profit warning"]')
        for name, phrases in topics.items():
            if not isinstance(phrases, list) or not phrases or not all(isinstance(p, str) and p for p in phrases):
                raise self.refuse(("topics",), name, 'write a list of example phrases: ["profit warning", "..."]')

    def _line(self, table: tuple[str, ...], setting: str) -> int:
        """The line of a setting, else of its table, else 1. Arrays of tables are found by their number."""
        wanted = [p for p in table if not p.isdigit()]
        number = next((int(p) for p in table if p.isdigit()), 0)
        here: list[str] = []
        seen = -1
        of_table = 0
        for i, line in enumerate(self._lines, 1):
            header = re.match(r"\s*(\[{1,2})\s*([^\]]+?)\s*\]", line)
            if header and "=" not in line.split("]")[0]:
                here = [part.strip().strip("\"'") for part in header[2].split(".")]
                if here == wanted:
                    seen += 1
                    if seen == number or header[1] == "[":
                        of_table = of_table or i
                continue
            inside = here == wanted and (seen == number or not any(p.isdigit() for p in table))
            if inside and setting and re.match(rf"\s*[\"']?{re.escape(setting)}[\"']?\s*[=.]", line):
                return i
        return of_table or 1
