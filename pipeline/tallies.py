"""Tallying: from a scored slice to integer counts per key and tick. A pure function.

Late signals are archived with their scores and not tallied: their ticks have closed.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.keys import bucket_of, key_maker
from pipeline.records import Exemplar, ScoreSlice, Signal, Tally, TallySlice
from pipeline.streams import Definition

#: Exemplars kept per key and tick.
EXEMPLARS = 5
#: Characters of a text shown as evidence.
EXEMPLAR_CHARACTERS = 500
# Exemplars held while a key is summed up.
_MOST_EXEMPLARS = 8 * EXEMPLARS
# Most counts have none; these two are never changed.
_NO_STORIES: dict[int, int] = {}
_NO_EXEMPLARS: list[Exemplar] = []


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


class _Count:
    """Counts of all signals of a slice that share dimensions and tick."""

    __slots__ = ("bad", "bad_signals", "exemplars", "stories", "total", "worst")

    def __init__(self) -> None:
        self.bad = 0
        self.total = 0
        self.bad_signals = 0  # copies of a story included: what "sources" lists
        self.worst = 0  # a minus_score above this is certainly not among the best
        self.stories: dict[int, int] = _NO_STORIES
        self.exemplars: list[Exemplar] = _NO_EXEMPLARS


class _Sum:
    """The counts of one key and tick: of one source or of many."""

    __slots__ = ("bad", "exemplars", "own", "sources", "stories", "total")

    def __init__(self, count: _Count, source: str) -> None:
        self.bad = count.bad
        self.total = count.total
        self.stories = count.stories
        self.exemplars = count.exemplars
        self.sources = {source: count.bad_signals} if source and count.bad_signals else {}
        self.own = False  # what it holds may be changed

    def add(self, count: _Count, source: str) -> None:
        if not self.own:
            self.stories, self.exemplars, self.own = dict(self.stories), list(self.exemplars), True
        self.bad += count.bad
        self.total += count.total
        for story, bad in count.stories.items():
            self.stories[story] = max(self.stories.get(story, 0), bad)
        if count.exemplars:
            self.exemplars += count.exemplars
            if len(self.exemplars) > _MOST_EXEMPLARS:  # a key of all sources would hold them all
                self.exemplars = best_exemplars(self.exemplars)
        if source and count.bad_signals:
            self.sources[source] = self.sources.get(source, 0) + count.bad_signals

    def tally(self, group: str, member: str, tick: int) -> Tally:
        exemplars = best_exemplars(self.exemplars) if len(self.exemplars) > 1 else self.exemplars
        return Tally(group, member, tick, self.bad, self.total, self.stories, exemplars, self.sources)


def tally(definition: Definition, scored: ScoreSlice, buckets: int) -> list[TallySlice]:
    """The tallies of a slice: one TallySlice for each of `buckets` buckets, empty or not."""
    keys_of = key_maker(definition)
    sums: dict[tuple[str, str, int], _Sum] = {}
    for (topic, source, values, tick), count in _count(definition, scored).items():
        for group, member in keys_of(topic, source, values):
            key = (group, member, tick)
            before = sums.get(key)
            if before is None:
                sums[key] = _Sum(count, source)
            else:
                before.add(count, source)
    slice = scored.slice
    shares: list[list[Tally]] = [[] for _ in range(buckets)]
    for key in sorted(sums):
        shares[bucket_of(key[0], buckets) if buckets > 1 else 0].append(sums[key].tally(*key))
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
            tallies=share,
            ends=slice.ends,
            reached_us=slice.reached_us,
        )
        for bucket, share in enumerate(shares)
    ]


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
            count = counts[key] = _Count()
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
