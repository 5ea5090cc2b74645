"""A definition in force in one raw partition: how it reads items, in which of its ticks they fall, and what is late.

Usually a partition has one. From the announcement of another until that takes over it has two, each with its own ticks
and lateness, and one clock that both go by. Pure.
"""

from __future__ import annotations

from pipeline import streams
from pipeline.errors import BrokenItem
from pipeline.ingest.item import MAX_ITEM_BYTES, Item, Read, json_reader, line_reader
from pipeline.instants import EARLIEST_US
from pipeline.records import LEFT_US, RawRecord
from pipeline.streams import Turn


class InForce:
    """One turn of a stream's definitions as `partition` counts under it, from its first tick on."""

    def __init__(self, turn: Turn, partition: str, watermark_us: int | None, *, left: bool) -> None:
        self.turn = turn
        self.name = turn.name
        self.definition = definition = turn.definition
        self.readers: dict[str, Read] = {
            "json": json_reader(definition),
            "row": json_reader(streams.adapted(definition, columns={})),
            "line": line_reader(definition),
        }
        #: Ticks that an item or a heartbeat fell in since `take_touched`, if ticks wait for this partition.
        self._touched: set[int] = set()
        self._ticks = definition.ticks
        self._first_tick = self._ticks.index(turn.from_us) if turn.from_us else self._ticks.index(EARLIEST_US) - 1
        # The tick of the newest item, its bounds, and whether it is touched.
        self._tick, self._tick_start_us, self._tick_end_us, self._touches = 0, 0, 0, False
        self._is_clock = not definition.clocks or partition in definition.clocks
        self.decide_late(watermark_us, left=left)

    def decide_late(self, watermark_us: int | None, *, left: bool) -> None:
        """Items of ticks before `late_before` are late, until the watermark reaches `_late_until_us`.

        Of a partition for which no tick waits all are: whether their tick has closed by now, no log says.
        """
        self._waited_for = not left and self._is_clock
        self._tick_end_us = self._tick_start_us
        if self._waited_for:
            self.late_before, self._late_until_us = self._first_open_tick(watermark_us), EARLIEST_US
        else:
            self.late_before = self._late_until_us = LEFT_US

    def touch(self, time_us: int) -> int:
        """The tick of an instant, which something fell in."""
        # Items come nearly in order: the tick of the last one is nearly always that of the next.
        if not self._tick_start_us <= time_us < self._tick_end_us:
            self._tick = self._ticks.index(time_us)
            self._tick_start_us = self._ticks.start_us(self._tick)
            self._tick_end_us = self._ticks.end_us(self._tick)
            self._touches = self._waited_for and self._tick >= self._first_tick
        if self._touches:
            self._touched.add(self._tick)
        return self._tick

    def take_touched(self) -> list[int]:
        """The ticks touched since the last call, ascending."""
        touched, self._touched = sorted(self._touched), set()
        return touched

    def advance(self, watermark_us: int) -> None:
        """The clock has moved on."""
        if watermark_us >= self._late_until_us:
            self.late_before = self._first_open_tick(watermark_us)
            self._late_until_us = self._ticks.end_us(self.late_before) + self.definition.lateness_us

    def read(self, record: RawRecord, payload: bytes) -> Item:
        """One item. Whatever a payload makes a parser do, it is that item's trouble alone. Raises BrokenItem."""
        read = self.readers.get(record.form)
        if read is None:
            raise BrokenItem(record.note or "the source could not read it")
        if len(payload) > MAX_ITEM_BYTES:
            raise BrokenItem(f"{len(payload)} bytes long, more than {MAX_ITEM_BYTES}")
        try:
            return read(payload, record.received_us)
        except BrokenItem:
            raise
        except Exception as error:
            raise BrokenItem(f"Tocsin could not read it ({type(error).__name__}); please report it") from error

    def time_of_undated(self, record: RawRecord, last_us: int | None) -> int:
        """The event time of an item that brings none; `last_us` is that of the newest item before it.

        Live, it is the received time. In history that says nothing: a log line then continues the one before it,
        and anything else is broken. Raises BrokenItem.
        """
        if self.definition.clock == "arrival":
            return record.received_us
        if record.form == "line" and last_us is not None:
            return last_us
        raise BrokenItem("it has no time")

    def _first_open_tick(self, watermark_us: int | None) -> int:
        """Items of earlier ticks are late: those have ended, lateness included, by this clock, or are not its own."""
        if watermark_us is None:
            return self._first_tick
        return max(self._first_tick, self._ticks.index(watermark_us - self.definition.lateness_us))
