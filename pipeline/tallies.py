"""Tallying: from a scored slice to integer counts per key and tick. A pure function.

Late signals are archived with their scores and not tallied: their ticks have closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from pipeline.keys import bucket_of, key_maker
from pipeline.records import Exemplar, Key, ScoreSlice, Signal, Tally, TallySlice
from pipeline.streams import Definition

#: Exemplars kept per key and tick.
EXEMPLARS = 5
#: Characters of a text shown as evidence.
EXEMPLAR_CHARACTERS = 500
# Exemplars held while a key is summed up.
_MOST_EXEMPLARS = 8 * EXEMPLARS
# Most counts have none; these are never changed.
_NO_STORIES: dict[int, int] = {}
_NO_EXEMPLARS: list[Exemplar] = []
_NO_SOURCES: dict[str, int] = {}


def best_exemplars(exemplars: Iterable[Exemplar]) -> list[Exemplar]:
    """The best few, each text once: highest score first, then id.

    Choosing among choices gives the same as choosing among all, so slices may be cut anywhere.
    """
    chosen: dict[str, Exemplar] = {}
    for exemplar in sorted(exemplars):
        if exemplar.text not in chosen:
            chosen[exemplar.text] = exemplar
            if len(chosen) == EXEMPLARS:
                break
    return list(chosen.values())


def _best_of(tallies: Iterable[Tally]) -> list[Exemplar]:
    """The best few of all, without holding them all: a key of all sources has one for each bad signal."""
    found: list[Exemplar] = []
    worst = 0
    for tally in tallies:
        if tally.exemplars and tally.exemplars[0].minus_score <= worst:
            found += tally.exemplars
            if len(found) > _MOST_EXEMPLARS:
                found = best_exemplars(found)
                if len(found) == EXEMPLARS:
                    worst = found[-1].minus_score
    return best_exemplars(found)


class Sum(Tally):
    """The sum of several tallies, which alone may be changed: most keys are counted once in a slice and a tick, and
    their tally is passed on as it is."""

    @classmethod
    def of(cls, tallies: Sequence[Tally]) -> Sum:
        made = cls(sum([t.bad for t in tallies]), sum([t.total for t in tallies]), {}, _best_of(tallies), {})
        for tally in tallies:
            if tally.stories or tally.sources:
                made._add_stories_and_sources(tally)
        return made

    def add(self, tally: Tally) -> None:
        self.bad += tally.bad
        self.total += tally.total
        self._add_stories_and_sources(tally)
        if tally.exemplars:
            self.exemplars = _best_of((self, tally))

    def _add_stories_and_sources(self, tally: Tally) -> None:
        for story, bad in tally.stories.items():
            self.stories[story] = max(self.stories.get(story, 0), bad)
        for source, bad in tally.sources.items():
            self.sources[source] = self.sources.get(source, 0) + bad

    def made(self) -> Tally:
        """As it is now, for good."""
        return Tally(self.bad, self.total, self.stories, self.exemplars, self.sources)


class _Count(msgspec.Struct, gc=False):
    """Counts of all signals of a slice that share dimensions and tick."""

    bad: int = 0
    total: int = 0
    bad_signals: int = 0  # copies of a story included: what "sources" lists
    worst: int = 0  # a minus_score above this is certainly not among the best
    stories: dict[int, int] = _NO_STORIES
    exemplars: list[Exemplar] = _NO_EXEMPLARS

    def tally(self, source: str) -> Tally:
        exemplars = best_exemplars(self.exemplars) if len(self.exemplars) > 1 else self.exemplars
        sources = {source: self.bad_signals} if source and self.bad_signals else _NO_SOURCES
        return Tally(self.bad, self.total, self.stories, exemplars, sources)


class Tallier:
    """Tallies the slices of one definition for `buckets` buckets. It remembers names; a slice's tallies depend on
    the slice alone."""

    def __init__(self, definition: Definition, buckets: int) -> None:
        self.definition = definition
        self._buckets = buckets
        self._keys_of = key_maker(definition)

    def tally(self, scored: ScoreSlice) -> list[TallySlice]:
        """The tallies of a slice: one TallySlice for each bucket, empty or not."""
        slice = scored.slice
        return [
            TallySlice(
                stream=slice.stream,
                definition=slice.definition,
                bucket=bucket,
                partition=slice.partition,
                start=slice.start,
                end=slice.end,
                begins=slice.begins,
                watermark_us=slice.watermark_us,
                touched=slice.touched,
                model=scored.model,
                tallies=tallies,
                ends=slice.ends,
                reached_us=slice.reached_us,
            )
            for bucket, tallies in enumerate(self._shares(scored))
        ]

    def _shares(self, scored: ScoreSlice) -> list[dict[int, dict[Key, Tally]]]:
        """The tallies of each bucket, by tick and key."""
        shares: list[dict[int, dict[Key, Tally]]] = [{} for _ in range(self._buckets)]
        for tick, tallies in self._by_tick(scored).items():
            if self._buckets == 1:
                shares[0][tick] = tallies
                continue
            for key, tally in tallies.items():
                shares[bucket_of(key[0], self._buckets)].setdefault(tick, {})[key] = tally
        return shares

    def _by_tick(self, scored: ScoreSlice) -> dict[int, dict[Key, Tally]]:
        keys_of = self._keys_of
        ticks: dict[int, tuple[dict[Key, Tally], dict[Key, list[Tally]]]] = {}
        for (topic, source, values, tick), count in _count(self.definition, scored).items():
            found = ticks.get(tick)
            if found is None:
                found = ticks[tick] = ({}, {})
            first, all = found
            tally = count.tally(source)
            for key in keys_of(topic, source, values):
                # Most keys are those of one count; groups, and members of several sources, have more to sum up.
                if key not in first:
                    first[key] = tally
                elif key in all:
                    all[key].append(tally)
                else:
                    all[key] = [first[key], tally]
        for first, all in ticks.values():
            for key, tallies in all.items():
                first[key] = Sum.of(tallies).made()
        return {tick: first for tick, (first, _) in ticks.items()}


def _count(definition: Definition, scored: ScoreSlice) -> dict[tuple[str, str, tuple[str, ...], int], _Count]:
    """Counts by (topic, source, values, tick). One loop, since it runs for every signal there is."""
    threshold = round(definition.threshold * 1_000_000)
    partition = scored.slice.partition
    by_topic = "topic" in definition.group or "topic" in definition.member
    counts: dict[tuple[str, str, tuple[str, ...], int], _Count] = {}
    for signal, probability, topic in zip(scored.slice.signals, scored.probabilities, scored.topics, strict=True):
        if signal.late:
            continue
        key = (topic if by_topic else "", signal.source, signal.values, signal.tick)
        count = counts.get(key)
        if count is None:
            count = counts[key] = _Count(0, 0, 0, 0, _NO_STORIES, _NO_EXEMPLARS)
        if signal.counted is not None:
            count.bad += signal.counted.bad
            count.bad_signals += signal.counted.bad
            count.total += signal.counted.total
            continue
        score = round(probability * 1_000_000)
        bad = score >= threshold
        if signal.story:
            if count.stories is _NO_STORIES:
                count.stories = {}
            count.stories[signal.story] = max(count.stories.get(signal.story, 0), int(bad))
        else:
            count.total += 1
            count.bad += bad
        if bad:
            count.bad_signals += 1
            if -score <= count.worst:
                _offer(count, signal, score, topic, partition)
    return counts


def _offer(count: _Count, signal: Signal, score: int, topic: str, partition: str) -> None:
    """Keep the signal, which may be among the best; the list is cut when it has grown to twice their number."""
    text = signal.text[:EXEMPLAR_CHARACTERS]
    if count.exemplars is _NO_EXEMPLARS:
        count.exemplars = []
    count.exemplars.append(Exemplar(-score, signal.identity(partition), signal.time_us, signal.source, text, topic))
    if len(count.exemplars) >= 2 * EXEMPLARS:
        count.exemplars = best_exemplars(count.exemplars)
        if len(count.exemplars) == EXEMPLARS:
            count.worst = count.exemplars[-1].minus_score
