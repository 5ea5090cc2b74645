"""The judge: from what the buckets of a stream say to the transitions of its surges.

A fold over verdicts. Delivery: a verdict that was applied before is skipped, so re-emission is harmless. Ordering:
verdicts of one bucket come in tick order, those of different buckets in any interleaving; the transitions depend
on neither the interleaving nor the number of buckets. A tick is judged once every bucket has reported it.
Raises RangeGap when a bucket's verdict leaves ticks out.
"""

from __future__ import annotations

import msgspec

from pipeline.detect.discovery import cut, level
from pipeline.detect.surge import Surge
from pipeline.errors import RangeGap, StateMismatch, UnknownRecord
from pipeline.records import KeyReport, Transition, Verdict
from pipeline.streams import Definition

FORMAT = 1


class _State(msgspec.Struct, array_like=True):
    """What `Judge.to_bytes` writes. `reported` is the last tick that each bucket reported, None before the first;
    `waiting` its verdicts, in tick order, that other buckets have yet to follow."""

    format: int
    run: str
    definition: str
    reported: list[int | None]
    waiting: list[list[Verdict]]
    surges: list[Surge]


class Judge:
    """Judges one stream in one run; `buckets` is fixed when the deployment is made."""

    def __init__(self, definition: Definition, run: str, buckets: int) -> None:
        self._definition = definition
        self._level = level(definition)
        self._state = _State(FORMAT, run, definition.version, [None] * buckets, [[] for _ in range(buckets)], [])
        self._surges: dict[tuple[str, str], Surge] = {}

    def has_heard(self, bucket: int) -> bool:
        """Whether any verdict of this bucket was applied."""
        return self._state.reported[bucket] is not None

    def apply(self, verdict: Verdict) -> list[Transition]:
        """Take one verdict; the transitions of the ticks that it completes, by tick, group and direction."""
        state, bucket = self._state, verdict.bucket
        if (verdict.stream, verdict.definition) != (self._definition.name, state.definition):
            raise StateMismatch(
                f"a verdict on stream {verdict.stream}, definition {verdict.definition}, came to the judge of "
                f"{self._definition.name}, definition {state.definition}"
            )
        if not 0 <= bucket < len(state.reported):
            raise StateMismatch(f"a verdict of bucket {bucket} came to a judge of {len(state.reported)} buckets")
        last = state.reported[bucket]
        if last is not None:
            if verdict.last_tick <= last:
                return []
            if verdict.first_tick > last + 1:
                raise RangeGap(partition=f"verdicts of bucket {bucket}", expected=last + 1, got=verdict.first_tick)
        state.reported[bucket] = verdict.last_tick
        state.waiting[bucket].append(verdict)
        transitions: list[Transition] = []
        while all(state.waiting):
            transitions += self._judge_next()
        return transitions

    def _judge_next(self) -> list[Transition]:
        """Judge the ticks up to the nearest end among the verdicts that wait first in line: one tick, or a run of
        ticks that is a gap in every bucket."""
        state = self._state
        heads = [line[0] for line in state.waiting]
        upto = min(head.last_tick for head in heads)
        if all(head.ends for head in heads):
            for line in state.waiting:
                line.pop(0)
            return self._end(upto - 1)
        spoken = [head for head in heads if not head.gap and head.last_tick == upto]
        for line in state.waiting:
            if line[0].last_tick == upto:
                line.pop(0)
        return self._judge_tick(upto, spoken) if spoken else []

    def _end(self, last: int) -> list[Transition]:
        """The definition is over after tick `last`: nothing more will be heard of its keys, so no surge stays open."""
        transitions = []
        for at in sorted(self._surges):
            transition = self._surges[at].end(self._definition, self._state.run, last)
            if transition is not None:
                transitions.append(transition)
        self._surges.clear()
        return transitions

    def _judge_tick(self, tick: int, verdicts: list[Verdict]) -> list[Transition]:
        reports = sorted(
            (report for verdict in verdicts for report in verdict.reports),
            key=lambda r: (r.group, r.direction, r.member),
        )
        tested = sum(verdict.tested for verdict in verdicts)
        limit = cut((r.p for r in reports if not r.learning), tested, self._level)
        by_group: dict[tuple[str, str], list[KeyReport]] = {}
        for report in reports:
            place = (report.group, report.direction)
            by_group.setdefault(place, []).append(report)
            if report.p <= limit and place not in self._surges:
                self._surges[place] = Surge(report.group, report.direction)
        transitions = []
        for at in sorted(self._surges):
            surge = self._surges[at]
            said = by_group.get(at, [])
            rising = [report for report in said if report.p <= limit]
            transition = surge.judge(self._definition, self._state.run, tick, said, rising)
            if transition is not None:
                transitions.append(transition)
            if surge.is_idle(self._definition, tick):
                del self._surges[at]
        return transitions

    def to_bytes(self) -> bytes:
        """The whole state; the same past gives the same bytes."""
        self._state.surges = [self._surges[place] for place in sorted(self._surges)]
        return msgspec.msgpack.encode(self._state)

    @classmethod
    def from_bytes(cls, definition: Definition, run: str, buckets: int, data: bytes | memoryview) -> Judge:
        """The judge that `to_bytes` saved. Raises UnknownRecord for bytes of another format, StateMismatch for
        the state of another definition, run or number of buckets."""
        try:
            state = msgspec.msgpack.decode(data, type=_State)
        except msgspec.MsgspecError as error:
            raise UnknownRecord(f"damaged judge state: {error}; restore it from a backup") from error
        if state.format != FORMAT:
            raise UnknownRecord(f"judge state of format {state.format}; this program knows {FORMAT}")
        found = (state.definition, state.run, len(state.reported))
        if found != (definition.version, run, buckets):
            raise StateMismatch(
                f"stream {definition.name}: the saved judge is of definition, run and buckets {found}, "
                f"not {(definition.version, run, buckets)}; replay the stream into a new generation"
            )
        judge = cls(definition, run, buckets)
        judge._state = state
        judge._surges = {(surge.group, surge.direction): surge for surge in state.surges}
        return judge
