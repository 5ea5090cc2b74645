"""The words of a surge: what its bad signals say that its key did not say before.

Downstream of everything: it reads recorded scores, and neither verdicts nor transitions depend on it. The same record
gives the same words, however it is sliced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from pipeline.detect.log_odds import Word, over_represented
from pipeline.keys import key_maker
from pipeline.records import ScoreSlice, Transition
from pipeline.scoring.template import scored_texts
from pipeline.scoring.words import vocabulary
from pipeline.streams import Definition

#: Words that a surge shows.
MOST = 10


class SurgeWords(NamedTuple):
    """Words over-represented in a surge, and how many signals were compared: its own, and those before it."""

    words: list[Word]
    here: int
    baseline: int


class _Said(NamedTuple):
    """A signal that counted for the surge's keys: its event time, whether it is bad, and its distinct words."""

    time_us: int
    bad: bool
    words: set[str]


def surge_words(
    transition: Transition,
    definition_of: Callable[[str], Definition],
    slices: Callable[[], Iterable[ScoreSlice]],
    *,
    most: int = MOST,
) -> SurgeWords:
    """Compare what the surge has gathered up to this transition with all that is recorded from before it opened.

    Of the surge the bad signals count, of the time before all signals: both of the members that rose, or of the group
    where none did. A word counts once a signal, the copies of a story once a tick, late signals not at all, and only
    what was counted under the surge's own definition. A drop has no words: it is about what is not said.

    `definition_of` gives the definition that slices call by a name. `slices` is called twice, and gives the recorded
    slices of the stream in the order of each partition. However long they are, memory holds the surge's own words and
    a number for each story.
    """
    if transition.direction == "down":
        return SurgeWords([], 0, 0)
    here: Counter[str] = Counter()
    signals = before = baseline_all = 0
    for said in _said(transition, definition_of, slices()):
        if said.bad and transition.opened_us <= said.time_us < transition.tick_end_us:
            here.update(said.words)
            signals += 1
    baseline: Counter[str] = Counter()
    for said in _said(transition, definition_of, slices()):
        if said.time_us < transition.opened_us:
            baseline.update(said.words & here.keys())
            baseline_all += len(said.words)
            before += 1
    return SurgeWords(over_represented(here, baseline, baseline_all, most=most), signals, before)


def _said(
    transition: Transition, definition_of: Callable[[str], Definition], slices: Iterable[ScoreSlice]
) -> Iterator[_Said]:
    """What counted for the surge's keys until its last tick ended, in the order of the slices."""
    keys = {(transition.group, member.member) for member in transition.members} or {(transition.group, "")}
    found: Definition | None = None
    last_seen: dict[tuple[int, bool], int] = {}  # the tick of each story, apart for its copies that are bad
    for scored in slices:
        texts: list[str] = []
        places: list[tuple[int, bool]] = []
        for signal, probability, topic in zip(scored.slice.signals, scored.probabilities, scored.topics, strict=True):
            if signal.late or signal.counted or signal.time_us >= transition.tick_end_us:
                continue
            generation = scored.slice.definition_at(signal.time_us)
            if generation.partition(".")[0] != transition.definition:
                continue
            if found is None:
                found = definition_of(generation)
                keys_of, threshold = key_maker(found), round(found.threshold * 1_000_000)
            if keys.isdisjoint(keys_of(topic, signal.source, signal.values)):
                continue
            bad = round(probability * 1_000_000) >= threshold
            if signal.story:
                if last_seen.get((signal.story, bad)) == signal.tick:
                    continue
                last_seen[signal.story, bad] = signal.tick
            texts.append(signal.text)
            places.append((signal.time_us, bad))
        if found is not None:
            for (time_us, bad), text in zip(places, scored_texts(found.kind, texts), strict=True):
                yield _Said(time_us, bad, vocabulary(text))
