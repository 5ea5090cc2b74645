"""Ingest: the fold from raw records to signals.

Guarantees. Every item of a raw partition ends in exactly one of four: a signal on time, a late signal, a
duplicate or a dead letter, decided by the log alone; `counts` adds them up. It counts under one definition: where
another was announced from a tick on, under that one if its event time lies in that tick or later. The output does not
depend on how the log is cut into calls, nor on restarts: state is `to_bytes` plus the ids of the output so far
(`remember`). Records must come without gap or overlap; `RangeGap` says where to rewind to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import msgspec

from pipeline import streams
from pipeline.errors import BrokenItem, RangeGap, StateMismatch
from pipeline.ingest.in_force import InForce
from pipeline.ingest.item import Item
from pipeline.ingest.masked_item import masked, plain_id
from pipeline.ingest.memory import SeenIds
from pipeline.ingest.state import Counts, IngestState
from pipeline.ingest.story import story_of
from pipeline.instants import EARLIEST_US
from pipeline.records import LEFT_US, DeadLetter, Following, RawRecord, Signal, SignalSlice, decode, encode
from pipeline.streams import Definition, Turn


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
        #: Every definition that slices have named since the start of the process, by that name.
        self.definitions: dict[str, Definition] = {}
        self._now = self._brought(streams.from_note(self._state.turn))
        self._next = self._brought(streams.from_note(self._state.pending)) if self._state.pending else None
        self._seen = SeenIds(self.definition.remember_ids)

    @property
    def definition(self) -> Definition:
        """The definition in force."""
        return self._now.definition

    @property
    def in_force(self) -> str:
        """What slices call the definition in force."""
        return self._now.name

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
        """Fold consecutive records; one slice, or some more where a definition changes. Raises RangeGap."""
        slices: list[SignalSlice] = []
        slice = self._open_slice()
        for record in records:
            if record.position != self._state.position:
                raise RangeGap(partition=self._state.partition, expected=self._state.position, got=record.position)
            for part in self._parts(record):
                self._state.position = part.end
                if part.kind == "items":
                    self._items(part, self._under(part), slice)
                elif part.kind == "heartbeat":
                    # One wrong clock of whoever writes to the log itself must not make all that follows late.
                    if part.time_us <= part.received_us + self.definition.max_ahead_us:
                        self._advance(self._at(part.time_us), part.time_us)
                elif part.kind == "leave" and not self._state.left:
                    # What comes later moves the clock, and not where it stood when it left.
                    before_us = self._state.watermark_us
                    self._state.left, self._state.left_us = True, EARLIEST_US if before_us is None else before_us
                    self._now.decide_late(self._state.watermark_us, left=True)
                elif part.kind == "define":
                    slice = self._announce(streams.from_note(part.note), slice, slices)
                if self._next is not None and self._due(self._next.turn):
                    slice = self._take_over(self._next, slice, slices)
        if self._state.position > slice.start:
            slices.append(self._close_slice(slice))
        return slices

    def _parts(self, record: RawRecord) -> Iterator[RawRecord]:
        """The record; item by item while a definition waits for its tick, since any of them may bring it."""
        first = 0
        while self._next is not None and record.kind == "items" and len(record.payloads) - first > 1:
            yield _item_of(record, first, first + 1)
            first += 1
        yield _item_of(record, first, len(record.payloads)) if first else record

    # Two definitions

    def _brought(self, turn: Turn) -> InForce:
        state = self._state
        self.definitions[turn.name] = turn.definition
        return InForce(turn, state.partition, state.watermark_us, left=state.left)

    def _announce(self, turn: Turn, slice: _OpenSlice, slices: list[SignalSlice]) -> _OpenSlice:
        """Another definition follows; the same one said again changes nothing. Returns the slice to go on with."""
        last = self._next or self._now
        if turn.number <= last.turn.number:
            return slice
        if self._next is not None:  # two in a row: the first has waited long enough
            slice = self._take_over(self._next, slice, slices)
        if not self._due(turn) and self._state.position > slice.start:
            slices.append(self._close_slice(slice))
        self._next, self._state.pending = self._brought(turn), streams.to_note(turn)
        return slice if self._due(turn) else self._open_slice()

    def _due(self, turn: Turn) -> bool:
        """Whether all that falls before the turn's first tick is there or late. A partition that has left is waited
        for by no tick, so it waits for none."""
        watermark_us = self._state.watermark_us
        if not turn.from_us or self._state.left:
            return True
        return watermark_us is not None and watermark_us >= turn.from_us + self.definition.lateness_us

    def _take_over(self, next: InForce, slice: _OpenSlice, slices: list[SignalSlice]) -> _OpenSlice:
        """The partition ends its old definition where that one's last tick and the lateness are over. Where that is
        not so it leaves it: before that, or behind items of later ticks that the old one has counted already."""
        state = self._state
        end_us = next.turn.from_us + self.definition.lateness_us
        waited = slice.shared and state.watermark_us is not None and state.watermark_us >= end_us
        slices.append(self._close_slice(slice, end_us if waited and not state.left else LEFT_US))
        if not slice.shared:
            state.left, state.left_us = False, None  # had it left, this definition takes it in again
        state.begun, state.pending_begun = state.pending_begun, False
        state.turn, state.pending = state.pending, ""
        self._now, self._next = next, None
        self._now.decide_late(state.watermark_us, left=state.left)
        self._seen.keep(self.definition.remember_ids)
        return self._open_slice()

    def _at(self, time_us: int) -> InForce:
        """The definition that an instant belongs to."""
        return self._now if self._next is None or time_us < self._next.turn.from_us else self._next

    def _under(self, part: RawRecord) -> InForce:
        """The definition that items belong to. While there are two, `part` is a single item: it belongs to the one that
        follows when either finds its time to be of that one's ticks."""
        if self._next is not None and part.payloads:
            for each in (self._next, self._now):
                with suppress(BrokenItem):
                    if self._at(self._read(each, part, part.payloads[0])[1]) is self._next:
                        return self._next
        return self._now

    # Items

    def _read(self, under: InForce, record: RawRecord, payload: bytes) -> tuple[Item, int]:
        """An item and its event time. Raises BrokenItem."""
        item = under.read(record, payload)
        time_us = item.time_us
        if time_us is None:
            time_us = under.time_of_undated(record, self._state.last_us)
        if time_us > record.received_us + under.definition.max_ahead_us:
            raise BrokenItem(
                "its time lies in the future: more than max_ahead beyond the time at which it was received"
            )
        return item, time_us

    def _items(self, record: RawRecord, under: InForce, slice: _OpenSlice) -> None:
        """Fold the items of one record. One loop, since it runs for every item there is."""
        state, counts, definition = self._state, self._state.counts, under.definition
        signals = slice.signals
        position = record.position - 1
        ids = record.ids
        for payload in record.payloads:
            position += 1
            brought = ids[position - record.position] if ids is not None else ""
            try:
                item, time_us = self._read(under, record, payload)
                id = plain_id(item.id) or brought
                if id and not self._seen.is_new(id):
                    counts.duplicates += 1
                    slice.duplicates += 1
                    continue
                text, source, values = masked(item, record.source, ip=definition.mask_ip)
            except BrokenItem as broken:
                counts.dead += 1
                slice.dead.append(
                    DeadLetter(
                        position, record.received_us, record.form, record.source, payload, broken.reason, brought
                    )
                )
                continue
            first_open = under.late_before
            tick = self._advance(under, time_us)
            state.last_us = time_us
            late = tick < first_open
            if late:
                counts.late += 1
            else:
                counts.counted += 1
            story = story_of(text) if definition.stories and item.counted is None else 0
            signals.append(Signal(position, id, time_us, tick, late, text, source, values, story, item.counted))

    def _advance(self, under: InForce, time_us: int) -> int:
        """The tick of an instant, after the clock has seen it."""
        tick = under.touch(time_us)
        watermark_us = self._state.watermark_us
        if watermark_us is None or time_us > watermark_us:
            self._state.watermark_us = time_us
            self._now.advance(time_us)
            if self._next is not None:
                self._next.advance(time_us)
        return tick

    # Slices

    def _open_slice(self) -> _OpenSlice:
        return _OpenSlice(self._state.position, shared=self._next is not None)

    def _close_slice(self, slice: _OpenSlice, end_us: int | None = None) -> SignalSlice:
        """`end_us` is the watermark at which the definition in force ends, if it does."""
        state = self._state
        begins, state.begun = not state.begun, True
        watermark_us = EARLIEST_US if self.watermark_us is None else self.watermark_us
        following = None
        if slice.shared and self._next is not None:
            begun, state.pending_begun = state.pending_begun, True
            next = self._next
            following = Following(next.name, next.turn.from_us, not begun, next.take_touched(), watermark_us)
        reached_us = state.watermark_us if state.left_us is None else state.left_us
        return SignalSlice(
            stream=state.stream,
            definition=self._now.name,
            partition=state.partition,
            start=slice.start,
            end=state.position,
            begins=begins,
            watermark_us=watermark_us if end_us is None else end_us,
            touched=self._now.take_touched(),
            signals=slice.signals,
            duplicates=slice.duplicates,
            dead=slice.dead,
            ends=end_us is not None,
            reached_us=EARLIEST_US if reached_us is None else reached_us,
            following=following,
        )


def _item_of(record: RawRecord, first: int, end: int) -> RawRecord:
    """Some of the items of a record."""
    return msgspec.structs.replace(
        record,
        position=record.position + first,
        payloads=record.payloads[first:end],
        ids=None if record.ids is None else record.ids[first:end],
    )


class _OpenSlice:
    """A slice while it is filled."""

    __slots__ = ("dead", "duplicates", "shared", "signals", "start")

    def __init__(self, start: int, *, shared: bool) -> None:
        self.start = start
        self.shared = shared  # with the definition that follows
        self.signals: list[Signal] = []
        self.duplicates = 0
        self.dead: list[DeadLetter] = []
