"""Ingest: the fold from raw records to signals.

Guarantees. Every item of a raw partition ends in exactly one of four: a signal on time, a late signal, a
duplicate or a dead letter, decided by the log alone; `counts` adds them up. The output does not depend on how
the log is cut into calls, nor on restarts: state is `to_bytes` plus the ids of the output so far (`remember`).
Records must come without gap or overlap; `RangeGap` says where to rewind to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import msgspec
import xxhash

from pipeline import streams
from pipeline.errors import BrokenItem, RangeGap, StateMismatch
from pipeline.ingest.item import MAX_ITEM_BYTES, MAX_TEXT, Item, Read, json_reader, line_reader
from pipeline.ingest.masking import mask
from pipeline.ingest.memory import SeenIds
from pipeline.ingest.story import story_of
from pipeline.instants import EARLIEST_US
from pipeline.records import LEFT_US, DeadLetter, RawRecord, Signal, SignalSlice, decode, encode
from pipeline.streams import Definition, Turn


class Counts(msgspec.Struct, array_like=True):
    """What became of the items of one raw partition. Their sum is the number of items taken in."""

    counted: int = 0
    late: int = 0
    duplicates: int = 0
    dead: int = 0

    @property
    def items(self) -> int:
        return self.counted + self.late + self.duplicates + self.dead


class IngestState(msgspec.Struct, array_like=True):
    """The saved state of ingest for one raw partition, valid as of `position`.

    `watermark_us` is the greatest event time seen (None before the first); `last_us` that of the newest line,
    for lines that bring none. `begun` is false until the definition in force has given out its first slice.
    `turn` is the note of the definition in force, `pending` that of one that follows from a tick on (empty: none).
    `left_us` is the watermark at which the partition left (None: it has not, or had none).
    """

    stream: str
    partition: str
    turn: str
    position: int = 0
    watermark_us: int | None = None
    last_us: int | None = None
    left: bool = False
    begun: bool = False
    counts: Counts = msgspec.field(default_factory=Counts)
    pending: str = ""
    left_us: int | None = None


class IngestFold:
    """Ingest of one raw partition (one clock of one stream)."""

    def __init__(self, turn: Turn, partition: str, state: bytes | None = None) -> None:
        """Start at position 0 in `turn`, or where `state` was saved, in the turn saved there."""
        definition = turn.definition
        if state is None:
            self._state = IngestState(definition.name, partition, streams.to_note(turn))
        else:
            self._state = decode(state, IngestState)
            if (self._state.stream, self._state.partition) != (definition.name, partition):
                raise StateMismatch(
                    f"the saved ingest state is that of {self._state.stream}/{self._state.partition}, "
                    f"not of {definition.name}/{partition}"
                )
        self._seen = SeenIds(definition.remember_ids)
        #: Every definition that has been in force here since the start of the process, by the name in its slices.
        self.definitions: dict[str, Definition] = {}
        self._adopt(streams.from_note(self._state.turn))
        self._pending = streams.from_note(self._state.pending) if self._state.pending else None

    @property
    def definition(self) -> Definition:
        """The definition in force."""
        return self._definition

    @property
    def in_force(self) -> str:
        """What slices call the definition in force."""
        return self._name

    @property
    def position(self) -> int:
        """The position of the next entry that it expects."""
        return self._state.position

    @property
    def counts(self) -> Counts:
        return self._state.counts

    @property
    def watermark_us(self) -> int | None:
        """The clock's watermark: `LEFT_US` when the partition has left, None before the first event time."""
        return LEFT_US if self._state.left else self._state.watermark_us

    def to_bytes(self) -> bytes:
        return encode(self._state)

    def remember(self, ids: Iterable[str]) -> None:
        """Rebuild the memory for ids from the ids of the output so far, oldest first."""
        self._seen.remember(ids)

    def apply(self, records: Sequence[RawRecord]) -> list[SignalSlice]:
        """Fold consecutive records; one slice, or one more for each change of definition. Raises RangeGap."""
        slices: list[SignalSlice] = []
        slice = self._open_slice()
        for record in records:
            if record.position != self._state.position:
                raise RangeGap(partition=self._state.partition, expected=self._state.position, got=record.position)
            for part in self._parts(record):
                self._state.position = part.end
                if part.kind == "items":
                    self._items(part, slice)
                elif part.kind == "heartbeat":
                    # One wrong clock of whoever writes to the log itself must not make all that follows late.
                    if part.time_us <= part.received_us + self._definition.max_ahead_us:
                        self._advance(part.time_us, slice)
                elif part.kind == "leave" and not self._state.left:
                    self._state.left, self._state.left_us = True, self._state.watermark_us
                    self._decide_late()
                elif part.kind == "define":
                    self._announce(streams.from_note(part.note))
                if self._pending is not None and self._due(self._pending):
                    # The partition leaves the stream under its old definition and begins it under the new one.
                    self._state.left = True
                    slices.append(self._close_slice(slice, ends=True))
                    self._state.left, self._state.left_us, self._state.begun = False, None, False
                    self._state.turn, self._state.pending = streams.to_note(self._pending), ""
                    self._adopt(self._pending)
                    self._pending = None
                    slice = self._open_slice()
        if self._state.position > slice.start:
            slices.append(self._close_slice(slice))
        return slices

    def _parts(self, record: RawRecord) -> Iterator[RawRecord]:
        """The record; item by item while a definition waits for its tick, since any of them may bring it."""
        first = 0
        while self._pending is not None and record.kind == "items" and len(record.payloads) - first > 1:
            yield _item_of(record, first, first + 1)
            first += 1
        yield _item_of(record, first, len(record.payloads)) if first else record

    def _announce(self, turn: Turn) -> None:
        """Another definition follows; the same one said again changes nothing."""
        if turn.number > self._turn.number and (self._pending is None or turn.number > self._pending.number):
            self._pending, self._state.pending = turn, streams.to_note(turn)

    def _due(self, turn: Turn) -> bool:
        """Whether all that falls before the turn's first tick is there or late. A partition that has left is waited
        for by no tick, so it waits for none."""
        watermark_us = self._state.watermark_us
        if not turn.from_us or self._state.left:
            return True
        return watermark_us is not None and watermark_us >= turn.from_us + self._definition.lateness_us

    def _adopt(self, turn: Turn) -> None:
        self._turn = turn
        self._name = turn.name
        self._definition = definition = turn.definition
        self._seen.keep(definition.remember_ids)
        self.definitions[self._name] = definition
        self._ticks = definition.ticks
        self._readers: dict[str, Read] = {
            "json": json_reader(definition),
            "row": json_reader(streams.adapted(definition, columns={})),
            "line": line_reader(definition),
        }
        self._decide_late()
        # The tick of the newest item, and its bounds.
        self._tick, self._tick_start_us, self._tick_end_us = 0, 0, 0

    def _decide_late(self) -> None:
        """Items of ticks before `_late_before` are late, until the watermark reaches `_late_until_us`.

        Of a partition for which no tick waits all are: whether their tick has closed by now, no log says.
        """
        clocks = self._definition.clocks
        self._waited_for = not self._state.left and (not clocks or self._state.partition in clocks)
        if self._waited_for:
            self._late_before, self._late_until_us = self._first_open_tick(), EARLIEST_US
        else:
            self._late_before = self._late_until_us = LEFT_US

    def _first_open_tick(self) -> int:
        """Items of earlier ticks are late: those ticks have ended, lateness included, by this clock."""
        if self._state.watermark_us is None:
            return self._ticks.index(EARLIEST_US) - 1
        return self._ticks.index(self._state.watermark_us - self._definition.lateness_us)

    def _advance(self, time_us: int, slice: _OpenSlice) -> int:
        """The tick of an instant, after the clock has seen it."""
        # Items come nearly in order: the tick of the last one is nearly always that of the next.
        if not self._tick_start_us <= time_us < self._tick_end_us:
            self._tick = self._ticks.index(time_us)
            self._tick_start_us = self._ticks.start_us(self._tick)
            self._tick_end_us = self._ticks.end_us(self._tick)
        if self._waited_for:
            slice.touched.add(self._tick)
        watermark_us = self._state.watermark_us
        if watermark_us is None or time_us > watermark_us:
            self._state.watermark_us = time_us
            if time_us >= self._late_until_us:
                self._late_before = self._first_open_tick()
                self._late_until_us = self._ticks.end_us(self._late_before) + self._definition.lateness_us
        return self._tick

    def _items(self, record: RawRecord, slice: _OpenSlice) -> None:
        """Fold the items of one record. One loop, since it runs for every item there is."""
        state, counts, definition = self._state, self._state.counts, self._definition
        received_us = record.received_us
        latest_us = received_us + definition.max_ahead_us
        read = self._readers.get(record.form)
        signals = slice.signals
        position = record.position - 1
        ids = record.ids
        for payload in record.payloads:
            position += 1
            brought = ids[position - record.position] if ids is not None else ""
            try:
                if read is None:
                    raise BrokenItem(record.note or "the source could not read it")
                if len(payload) > MAX_ITEM_BYTES:
                    raise BrokenItem(f"{len(payload)} bytes long, more than {MAX_ITEM_BYTES}")
                item = _read(read, payload, received_us)
                time_us = item.time_us
                if time_us is None:
                    time_us = self._time_of_undated(record)
                if time_us > latest_us:
                    raise BrokenItem(
                        "its time lies in the future: more than max_ahead beyond the time at which it was received"
                    )
                id = _plain_id(item.id) or brought
                if id and not self._seen.is_new(id):
                    counts.duplicates += 1
                    slice.duplicates += 1
                    continue
                text, source, values = self._masked(item, record.source)
            except BrokenItem as broken:
                counts.dead += 1
                slice.dead.append(
                    DeadLetter(position, received_us, record.form, record.source, payload, broken.reason, brought)
                )
                continue
            first_open = self._late_before
            tick = self._advance(time_us, slice)
            state.last_us = time_us
            late = tick < first_open
            if late:
                counts.late += 1
            else:
                counts.counted += 1
            story = story_of(text) if definition.stories and item.counted is None else 0
            signals.append(Signal(position, id, time_us, tick, late, text, source, values, story, item.counted))

    def _time_of_undated(self, record: RawRecord) -> int:
        """The event time of an item that brings none.

        Live, it is the received time. In history that says nothing: a log line then continues the one before it,
        and anything else is broken.
        """
        if self._definition.clock == "arrival":
            return record.received_us
        if record.form == "line" and self._state.last_us is not None:
            return self._state.last_us
        raise BrokenItem("it has no time")

    def _masked(self, item: Item, source: str) -> tuple[str, str, tuple[str, ...]]:
        """Text, source and values without personal data."""
        ip = self._definition.mask_ip
        text = item.text
        if len(text) > MAX_TEXT:
            # Masked before it is cut: half an address is one no more for the patterns, but still for people.
            text = mask(text[: 2 * MAX_TEXT], ip=ip)[:MAX_TEXT]
        else:
            text = mask(text, ip=ip)
        values = tuple([_mask_name(value, ip) for value in item.values])
        return text, _mask_name(item.source or source, ip), values

    def _open_slice(self) -> _OpenSlice:
        return _OpenSlice(self._state.position)

    def _close_slice(self, slice: _OpenSlice, *, ends: bool = False) -> SignalSlice:
        state = self._state
        begins, state.begun = not state.begun, True
        watermark_us = self.watermark_us
        reached_us = state.watermark_us if state.left_us is None else state.left_us
        return SignalSlice(
            stream=state.stream,
            definition=self._name,
            partition=state.partition,
            start=slice.start,
            end=state.position,
            begins=begins,
            watermark_us=EARLIEST_US if watermark_us is None else watermark_us,
            touched=sorted(slice.touched),
            signals=slice.signals,
            duplicates=slice.duplicates,
            dead=slice.dead,
            ends=ends,
            reached_us=EARLIEST_US if reached_us is None else reached_us,
        )


def _item_of(record: RawRecord, first: int, end: int) -> RawRecord:
    """Some of the items of a record."""
    return msgspec.structs.replace(
        record,
        position=record.position + first,
        payloads=record.payloads[first:end],
        ids=None if record.ids is None else record.ids[first:end],
    )


def _read(read: Read, payload: bytes, received_us: int) -> Item:
    """Read one item. Whatever a payload makes a parser do, it is that item's trouble alone."""
    try:
        return read(payload, received_us)
    except BrokenItem:
        raise
    except Exception as error:
        raise BrokenItem(f"Tocsin could not read it ({type(error).__name__}); please report it") from error


@lru_cache(maxsize=65_536)
def _mask_name(name: str, ip: bool) -> str:
    """A source or value without personal data; there are few of them, again and again."""
    return mask(name, ip=ip)


def _plain_id(id: str) -> str:
    """An id without personal data, and still another for another id."""
    if "@" not in id and "+" not in id:
        return id  # nearly always
    return id if mask(id) == id else f"masked-{xxhash.xxh3_128_hexdigest(id.encode('utf-8', 'surrogatepass'))}"


class _OpenSlice:
    """A slice while it is filled."""

    __slots__ = ("dead", "duplicates", "signals", "start", "touched")

    def __init__(self, start: int) -> None:
        self.start = start
        self.touched: set[int] = set()
        self.signals: list[Signal] = []
        self.duplicates = 0
        self.dead: list[DeadLetter] = []
