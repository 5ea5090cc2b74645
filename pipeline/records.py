"""Every record that is stored or sent, in one place, versioned.

Records are msgspec structs in MessagePack arrays. The first byte of an encoded record is `FORMAT`; a reader
that meets another one raises `UnknownRecord` and stops its partition, so that an old program never guesses at
a new record.

A *position* counts the entries of one raw partition from 0: an item, a heartbeat and a control record take one
position each. Every derived record says which half-open range `[start, end)` of which raw partition it covers.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import msgspec

from pipeline.errors import UnknownRecord

FORMAT = 1

#: The watermark of a clock that has left its stream: no tick waits for it any more.
LEFT_US = 2**62

#: How to read the payload of an item: "json" an object under the names that its sender chose, "row" one under
#: Tocsin's own (a table's row, whose columns the source has named), "line" a plain log line, "broken" what the
#: source could not frame.
Form = Literal["json", "row", "line", "broken"]

#: What is counted: (group, member). The group itself is the key with the empty member.
Key = tuple[str, str]


class RawRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Some consecutive entries of one raw partition, as they came.

    `kind` "items": one entry for each of `payloads` (bytes as they came, unmasked). `ids`, when not None, holds
    an id for each item that its transport brought (empty: none). `note` says why a "broken" one is.
    `kind` "heartbeat": one entry; nothing with an event time before `time_us` is still under way here.
    `kind` "leave": one entry; this partition leaves its stream, whose ticks no longer wait for it.
    `kind` "define": one entry; `note` is the stream's next turn as JSON (`pipeline.streams.Turn`).
    `kind` "hole": `size` positions that hold nothing: Kafka gives some to transaction markers and aborted records.
    """

    position: int
    received_us: int
    kind: Literal["items", "heartbeat", "leave", "define", "hole"] = "items"
    form: Form = "json"
    source: str = ""
    payloads: list[bytes] = []
    ids: list[str] | None = None
    time_us: int = 0
    note: str = ""
    size: int = 1

    @property
    def end(self) -> int:
        return self.position + (len(self.payloads) if self.kind == "items" else self.size)


class Counted(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Counts that an item brought itself; it skips the classifier. 0 <= bad <= total."""

    bad: int
    total: int


class Signal(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An item parsed, dated and masked: what the classifier scores.

    `id` is empty when the item brought none; its identity is then its place. `tick` is the tick of its event
    time. `values` are the values of the stream's dimensions in the order of `Definition.dimensions`, except
    "topic" and "source". `story` is a hash of the normalised text (0: the stream has no stories).
    """

    position: int
    id: str
    time_us: int
    tick: int
    late: bool
    text: str
    source: str
    values: tuple[str, ...] = ()
    story: int = 0
    counted: Counted | None = None

    def identity(self, partition: str) -> str:
        """The id that it brought, else its place."""
        return self.id or f"{partition}@{self.position}"


class DeadLetter(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An item that cannot be used: raw bytes, reason and place. Unmasked: shown masked unless asked for."""

    position: int
    received_us: int
    form: str
    source: str
    payload: bytes
    reason: str
    id: str = ""


class Following(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The definition that follows, in a slice of the time in which two are in force: to it belong the signals whose
    event time is `from_us` or later. `begins`, `touched` and `watermark_us` are its own, as in the slice."""

    definition: str
    from_us: int
    begins: bool
    touched: list[int]
    watermark_us: int


class SignalSlice(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What ingest made of `[start, end)` of one raw partition.

    items = len(signals) + duplicates + len(dead). `watermark_us` is that of the clock (stream, partition) after
    the slice, `LEFT_US` once the partition has left, and `reached_us` the greatest event time seen; where another
    definition takes over from a tick on, the watermark stops at that tick's start plus the lateness; `touched` are the
    ticks that an item or a heartbeat of the slice fell in, ascending. `begins` marks the first slice of a definition
    in this partition, `ends` the last: another definition follows. `definition` names it by version and turn.
    `following` is there from the announcement of the next definition up to the slice that `ends` this one.
    """

    stream: str
    definition: str
    partition: str
    start: int
    end: int
    begins: bool
    watermark_us: int
    touched: list[int]
    signals: list[Signal]
    duplicates: int
    dead: list[DeadLetter]
    ends: bool = False
    reached_us: int = 0
    following: Following | None = None

    def definition_at(self, time_us: int) -> str:
        """The definition under which a signal of this event time counts."""
        following = self.following
        return self.definition if following is None or time_us < following.from_us else following.definition


class ScoreSlice(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A slice with its recorded scores: one probability in [0, 1] and one topic for each signal, by position.

    Counted items have probability 0 and topic "". `model` is the version that scored.
    """

    slice: SignalSlice
    model: str
    probabilities: list[float]
    topics: list[str]


class Exemplar(msgspec.Struct, array_like=True, frozen=True, gc=False, order=True):
    """A signal shown as evidence. The order is that of evidence: highest score first, then id.

    `score` is the probability of bad in parts per million: integers sort and print the same everywhere.
    """

    minus_score: int
    id: str
    time_us: int
    source: str
    text: str
    topic: str = ""

    @property
    def score(self) -> float:
        return -self.minus_score / 1_000_000


class Tally(msgspec.Struct, array_like=True, gc=False):
    """What one key has counted in one tick: in one slice, or in all so far. It is not changed once it is made; `Sum`
    of `pipeline.tallies` is what may be.

    `stories` maps a story to 1 when it is bad, else 0; stories are not part of `bad` and `total`: the bucket counts
    each once a tick. `exemplars` are the best few, best first. `sources` counts bad signals by source."""

    bad: int
    total: int
    stories: dict[int, int] = {}
    exemplars: list[Exemplar] = []
    sources: dict[str, int] = {}


class TallySlice(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The tallies of one slice for one bucket, by tick and key: every slice goes to every bucket, empty or not."""

    stream: str
    definition: str
    bucket: int
    partition: str
    start: int
    end: int
    begins: bool
    watermark_us: int
    touched: list[int]
    model: str
    tallies: dict[int, dict[Key, Tally]]
    ends: bool = False
    reached_us: int = 0


class TallyBatch(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What one transaction of a scorer says to one bucket of every stream: consecutive slices of each clock."""

    bucket: int
    slices: list[TallySlice]


class KeyReport(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a bucket says of one key in a closed tick: for every key with `p` at most `p_max` now or in its last
    few ticks.

    `p` is the joined p-value of tail and chart over the full tail in `direction`; `z` the normal score of the
    upper mid-p; `low`, `high` the 95 % predictive interval of the count. `expected` is a count as well.
    `series` holds the last ticks as (tick, bad, total, expected), oldest first, this one last.
    """

    group: str
    member: str
    observed: int
    total: int
    expected: float
    low: float
    high: float
    p: float
    z: float
    chart: float
    direction: Literal["up", "down"]
    learning: bool
    series: list[tuple[int, int, int, float]] = []
    exemplars: list[Exemplar] = []
    sources: dict[str, int] = {}


class Verdict(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What one bucket says when ticks close: one tick, or a run of ticks that nothing touched (a gap).

    `tested` is the number of keys tested. Every bucket reports every closed tick. `ends` marks the last verdict: the
    definition is over, no tick follows, and this one is none.
    """

    stream: str
    definition: str
    bucket: int
    first_tick: int
    last_tick: int
    gap: bool
    tested: int
    reports: list[KeyReport]
    ends: bool = False


class VerdictBatch(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The verdicts that one slice caused in one bucket; `generation` is what slices call the definition. `begins` marks
    the first that this bucket says of it."""

    stream: str
    generation: str
    bucket: int
    verdicts: list[Verdict]
    begins: bool = False


class FoldRow(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A fold of one generation of a stream as it is saved on Kafka: a row of a table.

    `position` is the offset, in the partition that the fold reads, of the first record that may not be in it;
    `topic_id` tells the topic in which that offset counts from one made anew under its name. A fold that is `over`
    has no state: nothing that comes for it counts any more.
    """

    stream: str
    generation: str
    topic_id: str
    position: int
    over: bool
    state: bytes


class LostItem(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A dead letter on its way to where it is kept."""

    stream: str
    partition: str
    letter: DeadLetter


class Member(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A member of a surge: its key's member name and its counts in the tick in which it last rose."""

    member: str
    observed: int
    total: int
    expected: float
    p: float


class Transition(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A step in the life of a surge: the only output of the judge.

    `id` names the surge: hash(run, stream, definition, group, direction, opening tick). `sequence` counts the
    surge's transitions from 1. `tick` is the tick that closed; `tick_us` and `tick_end_us` its bounds. `series` holds
    (start of tick, bad, total, expected), oldest first. Floats are rounded to six significant digits when made, so that
    they print the same everywhere.
    """

    id: str
    sequence: int
    run: str
    stream: str
    definition: str
    group: str
    direction: Literal["up", "down"]
    state: Literal["opened", "grew", "resolved"]
    severity: Literal["info", "warning", "critical"]
    tick: int
    tick_us: int
    tick_end_us: int
    opened_us: int
    observed: int
    total: int
    expected: float
    low: float
    high: float
    p: float
    members: list[Member] = []
    series: list[tuple[int, int, int, float]] = []
    exemplars: list[Exemplar] = []
    sources: dict[str, int] = {}


R = TypeVar("R", bound=msgspec.Struct)

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[type[Any], msgspec.msgpack.Decoder[Any]] = {}


def encode(record: msgspec.Struct) -> bytes:
    """A record as bytes: the format byte, then MessagePack. The same record gives the same bytes."""
    return bytes((FORMAT,)) + _encoder.encode(record)


def decode(data: bytes | memoryview, kind: type[R]) -> R:
    """The record in `data`. Raises UnknownRecord when the format is another one or the bytes do not fit."""
    if not len(data) or data[0] != FORMAT:
        found = data[0] if len(data) else "nothing"
        raise UnknownRecord(
            f"a {kind.__name__} of format {found} was found where this program knows format {FORMAT}; "
            "run the newer Tocsin that wrote it"
        )
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    try:
        return decoder.decode(memoryview(data)[1:])  # type: ignore[no-any-return]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnknownRecord(f"damaged {kind.__name__}: {error}; restore this file from a backup") from error
