"""What a stream's definition must keep to, wherever it comes from: a stream file, or options of a command.

Values that have the right type and still make no sense; what is said of them names the setting and what to write.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pipeline.instants import DAY_US, SECOND_US
from pipeline.sources.columns import FIELDS
from pipeline.streams import Definition, SourceDefinition

_DIMENSION = re.compile(r"[^,\s:](?:[^,\n:]*[^,\s:])?")


def broken_rule(d: Definition) -> tuple[str, str] | None:
    """The first setting that breaks a rule, and what must hold; None when all is well."""
    try:
        ZoneInfo(d.zone)
    except (ValueError, OSError, KeyError):
        return "zone", f'{d.zone!r} is no time zone; write for example "Europe/Berlin"'
    dimensions = (*d.group, *d.member)
    rules = (
        (d.tick_us >= SECOND_US, "tick", 'must be at least "1s"'),
        (d.tick_us <= 366 * DAY_US, "tick", 'must be at most "366d"'),
        (d.lateness_us >= 0, "lateness", "must not be negative"),
        (d.max_ahead_us > 0, "max_ahead", "must be longer than zero"),
        (d.idle_after_us > 0, "idle_after", "must be longer than zero"),
        (d.stall_after_us > d.idle_after_us, "stall_after", "must be longer than idle_after"),
        (0 < d.threshold < 1, "threshold", "must lie between 0 and 1, for example 0.5"),
        (0 < d.q < 1, "q", "must lie between 0 and 1, for example 0.1"),
        (d.false_alarms_a_week > 0, "false_alarms_a_week", "must be above 0, for example 1"),
        (d.max_members >= 1, "max_members", "must be at least 1"),
        (d.pending_ticks >= 1, "pending_ticks", "must be at least 1"),
        (d.resolve_ticks >= 1, "resolve_ticks", "must be at least 1"),
        (d.remember_ids >= 0, "remember_ids", "must not be negative"),
        (bool(d.group) or d.overall, "group", "an item must have a key: set group, or overall = true"),
        (not d.member or bool(d.group), "member", "members need a group; set group"),
        (all(map(_DIMENSION.fullmatch, d.group)), "group", "a name has no comma and no colon, and is not empty"),
        (all(map(_DIMENSION.fullmatch, d.member)), "member", "a name has no comma and no colon, and is not empty"),
        (len(set(dimensions)) == len(dimensions), "group", "group and member name a dimension twice"),
        (1900 <= d.anchor.year < 2200, "anchor", "must lie between 1900 and 2200, for example 2001-01-01"),
    )
    return next(((setting, why) for good, setting, why in rules if not good), None)


def broken_source_rule(source: SourceDefinition) -> tuple[str, str] | None:
    """The same for one source."""
    rules = (
        (source.every_us >= SECOND_US, "every", 'must be at least "1s"'),
        ("\0" not in source.path, "path", "must not hold the character NUL"),
        (source.kind != "feed" or _is_web_address(source.url), "url", "write http://HOST/... or https://HOST/..."),
    )
    return next(((setting, why) for good, setting, why in rules if not good), None)


def unknown_field(fields: Iterable[str], definition: Definition) -> str:
    """What is wrong with the fields that `columns` maps; "" when all of them are read from items."""
    known = [*FIELDS, *definition.dimensions]
    unknown = next((field for field in fields if field not in known), None)
    if unknown is None:
        return ""
    return f"{unknown!r} is no field of an item and no dimension of this stream; {nearest(unknown, known)}"


def reads_the_same(one: SourceDefinition, other: SourceDefinition) -> bool:
    """Whether two sources read the same files of one directory, as far as the patterns tell."""
    return (
        one.kind == other.kind == "directory"
        and os.path.realpath(one.path) == os.path.realpath(other.path)
        and (fnmatch(one.pattern, other.pattern) or fnmatch(other.pattern, one.pattern))
    )


def nearest(name: str, names: Sequence[str]) -> str:
    """A hint for a name that is none of `names`."""
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
