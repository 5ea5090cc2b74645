"""The folds of one stream behind scoring: from recorded scores to transitions, with a state that can be kept.

Pure. What `StreamFlow` does with one process's slices, for slices that come from a score log or an archive.

Ordering: the slices of one clock come in the order of their ranges, those of different clocks in any interleaving;
the transitions do not depend on it. Who reads the clock that is furthest behind first needs least memory.
Idempotence: a slice that was folded before is skipped, by its range.
Raises: RangeGap where a slice of a clock is missing.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pipeline.errors import RangeGap, StateMismatch
from pipeline.generation import Generation
from pipeline.instants import EARLIEST_US
from pipeline.records import LEFT_US, ScoreSlice, SignalSlice, Transition, decode, encode
from pipeline.streams import Definition
from pipeline.turnover import parts


class _Clock(msgspec.Struct, array_like=True):
    """How far one clock is folded: the end of its last slice, which definition is in force behind it, and its watermark
    there."""

    covered: int
    generation: str
    watermark_us: int


class _Saved(msgspec.Struct, array_like=True):
    """The saved state; `states` are those of each generation that is not over."""

    stream: str
    run: str
    buckets: int
    closed_us: int
    clocks: dict[str, _Clock]
    states: dict[str, dict[str, bytes]]


class ScoredFlow:
    """Folds scored slices of one stream. `definition_of` gives the definition that slices call by a name."""

    def __init__(
        self,
        stream: str,
        definition_of: Callable[[str], Definition],
        *,
        run: str,
        buckets: int = 1,
    ) -> None:
        self._definition_of = definition_of
        self._saved = _Saved(stream, run, buckets, EARLIEST_US, {}, {})
        self._generations: dict[str, Generation] = {}
        self._definitions: dict[str, Definition] = {}  # by version

    @classmethod
    def from_bytes(
        cls, stream: str, definition_of: Callable[[str], Definition], data: bytes, *, run: str
    ) -> ScoredFlow:
        """The flow that `to_bytes` saved, with the number of buckets that it had. Raises StateMismatch."""
        saved = decode(data, _Saved)
        if (saved.stream, saved.run) != (stream, run):
            raise StateMismatch(
                f"the saved state is that of stream {saved.stream} in run {saved.run}, not of {stream} in {run}"
            )
        flow = cls(stream, definition_of, run=run, buckets=saved.buckets)
        flow._saved = saved
        for name, states in saved.states.items():
            flow._generation(name, states)
        return flow

    def to_bytes(self) -> bytes:
        """The whole state. A generation that all its clocks have left is no part of it: it has closed its last tick."""
        in_force = {clock.generation for clock in self._saved.clocks.values()}
        for name, generation in list(self._generations.items()):
            if generation.finished and name not in in_force:
                del self._generations[name]
        self._saved.states = {name: generation.states() for name, generation in self._generations.items()}
        return encode(self._saved)

    @property
    def covered(self) -> dict[str, int]:
        """The end of what is folded, by clock."""
        return {name: clock.covered for name, clock in self._saved.clocks.items()}

    @property
    def closed_us(self) -> int:
        """The end of the last tick that has closed; an early instant before the first."""
        return self._saved.closed_us

    @property
    def settled_us(self) -> int | None:
        """Every tick that ends at or before this instant has closed; None while a clock of the stream has not begun,
        `LEFT_US` when all have left."""
        clocks = self._saved.clocks
        in_force = [self._generation(name).definition for name in {clock.generation for clock in clocks.values()}]
        wanted = {name for definition in in_force for name in definition.clocks}
        if not wanted or any(name not in clocks for name in wanted):
            return None
        least_us = min(clocks[name].watermark_us for name in wanted)
        return least_us if least_us == LEFT_US else least_us - max(d.lateness_us for d in in_force)

    def has_settled(self, until_us: int) -> bool:
        """Whether every tick that begins before an instant has closed."""
        settled_us = self.settled_us
        if settled_us is None:
            return False
        in_force = {clock.generation for clock in self._saved.clocks.values()}
        ticks = [self._generation(name).definition.ticks for name in in_force]
        return all(settled_us >= t.end_us(t.index(until_us - 1)) for t in ticks)

    def apply(self, scored: ScoreSlice) -> list[Transition]:
        """Fold one slice; the transitions that it causes, in order. Raises RangeGap."""
        slice = scored.slice
        clock = self._saved.clocks.get(slice.partition)
        if clock is None:
            if not slice.begins:
                raise RangeGap(partition=slice.partition, expected=0, got=slice.start)
        elif slice.end <= clock.covered:
            return []
        elif slice.start != clock.covered:
            raise RangeGap(partition=slice.partition, expected=clock.covered, got=slice.start)
        transitions: list[Transition] = []
        for part in parts(scored):
            generation = self._generation(part.slice.definition)
            transitions += generation.detect(part)
            if generation.closed is not None:
                end_us = generation.definition.ticks.end_us(generation.closed)
                self._saved.closed_us = max(self._saved.closed_us, end_us)
        in_force = slice.following.definition if slice.ends and slice.following is not None else slice.definition
        self._saved.clocks[slice.partition] = _Clock(slice.end, in_force, _watermark_us(slice))
        return transitions

    def definition(self, version: str) -> Definition:
        """A definition under which slices were folded, by its version."""
        return self._definitions[version]

    def _generation(self, name: str, states: dict[str, bytes] | None = None) -> Generation:
        generation = self._generations.get(name)
        if generation is None:
            definition = self._definition_of(name)
            generation = Generation(name, definition, self._saved.run, self._saved.buckets, states or {})
            self._generations[name] = generation
            self._definitions[definition.version] = definition
        return generation


def _watermark_us(slice: SignalSlice) -> int:
    """A partition whose definition changes leaves the old one; its clock goes on."""
    if slice.following is not None:
        return slice.following.watermark_us
    return slice.reached_us if slice.ends else slice.watermark_us
