"""Stream definitions: what is counted, in which ticks, under which keys, and when people are woken.

A definition is immutable and versioned: `version` is a hash of everything that decides what the folds do. Two
definitions with the same version give the same surges from the same raw log. What only the shells use (where a
source is, how long a silence is an alarm) is no part of it.
"""

from __future__ import annotations

import hashlib
from datetime import date
from typing import Any, Literal

import msgspec

from pipeline.instants import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from pipeline.ticks import Ticks

Kind = Literal["news", "logs", "health", "indicator"]
#: What a file holds; "auto" goes by its name and first bytes.
FileForm = Literal["auto", "json", "csv", "line"]


class SourceDefinition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where items of a stream come from; each source is one raw partition and one clock.

    `kind` "push": `POST /v1/items`; "directory": files that appear and grow under `path` (those that match
    `pattern`); "feed": RSS or Atom at `url`, asked every `every_us`. `form`: "auto" goes by the file's name and
    first bytes. `columns` maps what Tocsin calls a field to what this source's tables call it; objects in JSON use
    the stream's.
    """

    name: str
    kind: Literal["push", "directory", "feed"]
    path: str = ""
    pattern: str = "*"
    url: str = ""
    every_us: int = 5 * MINUTE_US
    form: FileForm = "auto"
    columns: dict[str, str] = {}


class Definition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stream. Times are in microseconds; see `docs/streams.md` for what each setting does.

    `group` and `member` name dimensions ("topic", "source", or a field that items bring); an item belongs to
    the group of its values of `group`, and within it to the member of its values of `member`. With `overall`,
    the whole stream is a group of its own ("all"). `clocks` are the raw partitions whose watermarks a tick
    waits for: one for each source.
    """

    name: str
    kind: Kind
    tick_us: int
    zone: str = "UTC"
    anchor: date = date(2001, 1, 1)
    lateness_us: int = 0
    clock: Literal["arrival", "data"] = "arrival"
    max_ahead_us: int = HOUR_US
    count: Literal["share", "number"] = "number"
    threshold: float = 0.5
    silence: Literal["gap", "zero"] = "gap"
    seasons: tuple[Literal["day", "week", "year"], ...] = ()
    group: tuple[str, ...] = ()
    member: tuple[str, ...] = ()
    overall: bool = True
    max_members: int = 1000
    q: float = 0.1
    false_alarms_a_week: float = 1.0
    pending_ticks: int = 1
    resolve_ticks: int = 3
    drops: bool = True
    stories: bool = False
    mask_ip: bool = False
    remember_ids: int = 100_000
    columns: dict[str, str] = {}
    clocks: tuple[str, ...] = ()
    # Only for the shells; no part of the version.
    idle_after_us: int = 5 * SECOND_US
    stall_after_us: int = 15 * MINUTE_US
    sources: tuple[SourceDefinition, ...] = ()

    @property
    def ticks(self) -> Ticks:
        return Ticks(self.tick_us, self.zone, self.anchor)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """What ingest must read from an item beside topic and source, in the order of `Signal.values`."""
        wanted = dict.fromkeys((*self.group, *self.member))
        return tuple(name for name in wanted if name not in ("topic", "source"))

    @property
    def version(self) -> str:
        """Twelve hexadecimal digits that change with anything the folds depend on.

        A setting at its default is no part of them: a Tocsin that knows one setting more reads an old definition as
        the same, so a shipped default is never changed.
        """
        shell = ("idle_after_us", "stall_after_us", "sources")
        usual = Definition(name="", kind=self.kind, tick_us=0)
        core = {
            name: msgspec.to_builtins(getattr(self, name))
            for name in self.__struct_fields__
            if name not in shell and getattr(self, name) != getattr(usual, name)
        }
        core["kind"] = self.kind
        return hashlib.sha256(msgspec.json.encode(core, order="sorted")).hexdigest()[:12]


class Turn(msgspec.Struct, frozen=True, omit_defaults=True):
    """A definition and which in the row of a stream's definitions it is, counted from 1.

    The same definition may come into force more than once; its turns tell the times apart, alike in all partitions.
    It comes into force where the log says so, or later: in each partition once all that falls before `from_us`, the
    start of a tick, is there or late.
    """

    number: int
    definition: Definition
    from_us: int = 0

    @property
    def name(self) -> str:
        """What slices and states call it: the version, and the turn when it is not the first."""
        return self.definition.version if self.number == 1 else f"{self.definition.version}.{self.number}"


def turn_number(name: str) -> int:
    """The number of the turn that slices call by this name."""
    _, _, number = name.partition(".")
    return int(number or 1)


def to_note(turn: Turn) -> str:
    """A turn as JSON: what a control record carries."""
    return msgspec.json.encode(turn, order="sorted").decode()


def from_note(note: str) -> Turn:
    """The turn in a control record. Raises msgspec.ValidationError when it is none."""
    return msgspec.json.decode(note, type=Turn)


def tick_share_of_week(definition: Definition) -> float:
    """Which part of a week one tick is: the unit in which a budget of false alarms is spent."""
    return definition.tick_us / (7 * DAY_US)


def adapted_source(definition: Definition, source: SourceDefinition) -> SourceDefinition:
    """A source with the columns of its stream where it sets none of its own."""
    return msgspec.structs.replace(source, columns={**definition.columns, **source.columns})


def adapted(definition: Definition, **changes: Any) -> Definition:
    """The same definition with some settings changed."""
    return msgspec.structs.replace(definition, **changes)
