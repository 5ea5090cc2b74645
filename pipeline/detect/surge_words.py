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
    """A signal that counted for the surge's keys: in the surge or before it, whether it is bad, its distinct words."""

    before: bool
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

    Of the surge the bad signals count, from its first alarmed tick on; of the time before all signals: both of the
    members that rose, or of the group where none did. A word counts once a signal, the copies of a story once a tick,
    late signals not at all, and only what was counted under the surge's own definition. A drop has no words: it is
    about what is not said.

    `definition_of` gives the definition that slices call by a name. `slices` is called twice, and gives the recorded
    slices of the stream in the order of each partition. However long they are, memory holds the surge's own words and
    a number for each story.
    """
    if transition.direction == "down":
        return SurgeWords([], 0, 0)
    here: Counter[str] = Counter()
    signals = before = baseline_all = 0
    for said in _said(transition, definition_of, slices()):
        if said.bad and not said.before:
            here.update(said.words)
            signals += 1
    baseline: Counter[str] = Counter()
    for said in _said(transition, definition_of, slices()):
        if said.before:
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
    last_seen: dict[tuple[int, bool], int] = {}  # the last tick of each story; bad copies of it are another
    for scored in slices:
        texts: list[str] = []
        places: list[tuple[bool, bool]] = []
        for signal, probability, topic in zip(scored.slice.signals, scored.probabilities, scored.topics, strict=True):
            if signal.late or signal.counted or signal.time_us >= transition.tick_end_us:
                continue
            generation = scored.slice.definition_at(signal.time_us)
            if generation.partition(".")[0] != transition.definition:
                continue
            if found is None:
                found = definition_of(generation)
                keys_of, threshold = key_maker(found), round(found.threshold * 1_000_000)
                begin_us = _begin_us(transition, found)
            if keys.isdisjoint(keys_of(topic, signal.source, signal.values)):
                continue
            bad = round(probability * 1_000_000) >= threshold
            if signal.story:
                if last_seen.get((signal.story, bad)) == signal.tick:
                    continue
                last_seen[signal.story, bad] = signal.tick
            texts.append(signal.text)
            places.append((signal.time_us < begin_us, bad))
        if found is not None:
            for place, text in zip(places, scored_texts(found.kind, texts), strict=True):
                yield _Said(*place, vocabulary(text))


def _begin_us(transition: Transition, definition: Definition) -> int:
    """The start of the surge's first alarmed tick: it opened once `pending_ticks` had been alarmed in a row."""
    ticks = definition.ticks
    return ticks.start_us(ticks.index(transition.opened_us) - (definition.pending_ticks - 1))
