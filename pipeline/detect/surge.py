"""The life of a surge: quiet, pending, open, resolved.

A surge belongs to a group and a direction. It opens after `pending_ticks` alarmed ticks in a row; members that
rise join it; it is resolved after `resolve_ticks` calm ticks in a row, more when it flaps. A tick is calm when
no key of the group is alarmed and each of the surge's carriers is back within its predictive interval. The
carriers are the members that rose, until the group itself rises and takes the surge over.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from pipeline.detect.severity import Severity, is_worse, severity
from pipeline.records import KeyReport, Member, Transition
from pipeline.streams import Definition

#: So many members at most are part of one surge, the most surprising first.
MEMBERS = 100
#: A surge that opens within so many times `resolve_ticks` after the last one of its group was resolved is the same
#: trouble flapping: each time it must stay calm twice as long, at most 2**FLAPS times.
FLAP_WITHIN = 4
FLAPS = 2


class Evidence(msgspec.Struct, array_like=True, frozen=True):
    """The counts of a surge that were last reported."""

    observed: int
    total: int
    expected: float
    low: float
    high: float
    p: float


class Surge(msgspec.Struct, array_like=True):
    """What the judge remembers of one group in one direction; `id` is empty while none is open."""

    group: str
    direction: Literal["up", "down"]
    pending: int = 0
    id: str = ""
    opened: int = 0
    sequence: int = 0
    severity: Severity = "info"
    calm: int = 0
    group_rose: bool = False
    members: dict[str, Member] = {}
    evidence: Evidence | None = None
    flaps: int = 0
    resolved: int | None = None

    def judge(
        self, definition: Definition, run: str, tick: int, reports: list[KeyReport], rising: list[KeyReport]
    ) -> Transition | None:
        """Take one judged tick: this group's reports and those of them that rise (alarmed, or learning and as
        surprising), both in this direction and in a fixed order. Returns what people should hear, if anything."""
        alarmed = any(not report.learning for report in rising)
        lead = self._lead(reports, rising)
        if not self.id:
            self.pending = self.pending + 1 if alarmed else 0
            if self.pending < definition.pending_ticks or lead is None:
                return None
            self._open(definition, run, tick)
            self._join(rising)
            self.severity = severity(lead)
            return self._transition(definition, run, tick, "opened", lead)
        if alarmed:
            self.calm = 0
            joined = self._join(rising)
            worse = lead is not None and is_worse(severity(lead), self.severity)
            if lead is not None and worse:
                self.severity = severity(lead)
            return self._transition(definition, run, tick, "grew", lead) if joined or worse else None
        carriers = [report for report in reports if self._carries(report)]
        self.calm = 0 if any(_is_out(report) for report in carriers) else self.calm + 1
        if self.calm < definition.resolve_ticks * 2**self.flaps:
            self._note(self._lead(carriers, carriers))
            return None
        transition = self._transition(definition, run, tick, "resolved", self._lead(carriers, carriers))
        self._close(tick)
        return transition

    def end(self, definition: Definition, run: str, tick: int) -> Transition | None:
        """The stream's definition is over after `tick`: an open surge is resolved with it."""
        if not self.id:
            return None
        transition = self._transition(definition, run, tick, "resolved", None)
        self._close(tick)
        return transition

    def is_idle(self, definition: Definition, tick: int) -> bool:
        """Whether nothing is left to remember."""
        return not self.id and not self.pending and not self._flaps_at(definition, tick)

    def _flaps_at(self, definition: Definition, tick: int) -> bool:
        within = FLAP_WITHIN * definition.resolve_ticks
        return self.resolved is not None and tick - self.resolved <= within

    def _open(self, definition: Definition, run: str, tick: int) -> None:
        self.flaps = min(self.flaps + 1, FLAPS) if self._flaps_at(definition, tick) else 0
        self.id = surge_id(run, definition, self.group, self.direction, tick)
        self.opened, self.sequence, self.calm, self.pending = tick, 0, 0, 0
        self.group_rose, self.members, self.evidence = False, {}, None

    def _close(self, tick: int) -> None:
        self.id, self.resolved = "", tick
        self.members, self.evidence = {}, None

    def _carries(self, report: KeyReport) -> bool:
        return not report.member if self.group_rose else report.member in self.members

    def _join(self, rising: list[KeyReport]) -> bool:
        """Take in the keys that rise; whether one of them is new to the surge."""
        joined = False
        for report in sorted(rising, key=lambda r: (r.p, r.member)):
            if not report.member:
                self.group_rose = self.group_rose or not report.learning
            elif report.member in self.members or len(self.members) < MEMBERS:
                joined = joined or report.member not in self.members
                self.members[report.member] = Member(
                    report.member, report.observed, report.total, rounded(report.expected), rounded(report.p)
                )
        return joined

    def _lead(self, reports: list[KeyReport], rising: list[KeyReport]) -> KeyReport | None:
        """The report that tells the surge: the group's own once it rose, else that of the strongest member."""
        for report in reports if self.group_rose else rising:
            if not report.member:
                return report
        return min(rising, key=lambda r: (r.learning, r.p, -abs(r.z), r.member), default=None)

    def _note(self, lead: KeyReport | None) -> None:
        """Keep the latest counts: a bucket stops reporting a calm key before a flapping surge is resolved."""
        if lead is not None:
            floats = (rounded(x) for x in (lead.expected, lead.low, lead.high, lead.p))
            self.evidence = Evidence(lead.observed, lead.total, *floats)

    def _transition(
        self,
        definition: Definition,
        run: str,
        tick: int,
        state: Literal["opened", "grew", "resolved"],
        lead: KeyReport | None,
    ) -> Transition:
        self._note(lead)
        assert self.evidence is not None
        e, ticks = self.evidence, definition.ticks
        self.sequence += 1
        return Transition(
            id=self.id,
            sequence=self.sequence,
            run=run,
            stream=definition.name,
            definition=definition.version,
            group=self.group,
            direction=self.direction,
            state=state,
            severity=self.severity,
            tick=tick,
            tick_us=ticks.start_us(tick),
            tick_end_us=ticks.end_us(tick),
            opened_us=ticks.start_us(self.opened),
            observed=e.observed,
            total=e.total,
            expected=e.expected,
            low=e.low,
            high=e.high,
            p=e.p,
            members=sorted(self.members.values(), key=lambda m: (m.p, m.member)),
            series=[(ticks.start_us(t), b, n, rounded(x)) for t, b, n, x in lead.series] if lead else [],
            exemplars=list(lead.exemplars) if lead else [],
            sources=dict(sorted(lead.sources.items())) if lead else {},
        )


def surge_id(run: str, definition: Definition, group: str, direction: str, tick: int) -> str:
    """The id of the surge that opens in this tick."""
    name = (run, definition.name, definition.version, group, direction, tick)
    return hashlib.sha256(msgspec.msgpack.encode(name)).hexdigest()[:32]


def in_run(transition: Transition, definition: Definition, run: str) -> Transition:
    """The transition as the judge of another run makes it, given its definition."""
    opened = definition.ticks.index(transition.opened_us)
    id = surge_id(run, definition, transition.group, transition.direction, opened)
    return msgspec.structs.replace(transition, run=run, id=id)


def rounded(value: float) -> float:
    """Six significant digits: what a float keeps on its way out, so that it prints the same everywhere."""
    return float(f"{value:.6g}")


def _is_out(report: KeyReport) -> bool:
    if report.direction == "up":
        return report.observed > report.high
    return report.observed < report.low
