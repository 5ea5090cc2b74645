"""The words of a surge: whose texts are compared, and that the cuts of the record change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.detect.surge_words import SurgeWords, surge_words
from pipeline.records import Counted, Member, ScoreSlice, Signal, SignalSlice, Transition
from pipeline.streams import Definition

MINUTE = 60_000_000
DEFINITION = Definition(
    name="s", kind="news", tick_us=MINUTE, group=("topic",), member=("source",), overall=False, threshold=0.7
)
#: It opened in minute 10, and this is what is known of it after minute 11.
TRANSITION = Transition(
    id="x",
    sequence=2,
    run="live",
    stream="s",
    definition=DEFINITION.version,
    group="topic:finance",
    direction="up",
    state="grew",
    severity="warning",
    tick=11,
    tick_us=11 * MINUTE,
    tick_end_us=12 * MINUTE,
    opened_us=10 * MINUTE,
    observed=9,
    total=9,
    expected=1,
    low=0,
    high=3,
    p=0.001,
)
Said = tuple[Signal, float, str]


def said(minute: int, text: str, bad: float = 0.9, topic: str = "finance", **changes: Any) -> Said:
    made: dict[str, Any] = {
        "position": 0,
        "id": "",
        "time_us": minute * MINUTE,
        "tick": minute,
        "late": False,
        "source": "web",
    }
    return Signal(**(made | {"text": text} | changes)), bad, topic


def scored(signals: Sequence[Said], name: str = DEFINITION.version) -> ScoreSlice:
    slice = SignalSlice("s", name, "s/p", 0, len(signals), False, 0, [], [one[0] for one in signals], 0, [])
    return ScoreSlice(slice, "m", [one[1] for one in signals], [one[2] for one in signals])


def words(
    signals: Sequence[Said],
    transition: Transition = TRANSITION,
    cuts: Sequence[int] = (),
    name: str = DEFINITION.version,
    definition: Definition = DEFINITION,
) -> SurgeWords:
    bounds = [0, *sorted(cuts), len(signals)]
    slices = [scored(signals[a:b], name) for a, b in pairwise(bounds)]
    return surge_words(transition, lambda _: definition, lambda: slices)


USUAL = [said(n % 10, f"shares rise in trade {n}", bad=0.1) for n in range(100)]
SURGE = [said(10 + n % 2, f"Bank run in Ruritania, shares fall {n}") for n in range(10)]


def named(found: SurgeWords) -> set[str]:
    return {word.word for word in found.words}


def test_what_is_new_stands_out_and_what_is_usual_does_not() -> None:
    found = words([*USUAL, *SURGE])
    assert named(found) == {"bank", "run", "ruritania", "fall"}
    assert (found.here, found.baseline) == (10, 100)
    assert {(word.here, word.baseline) for word in found.words} == {(10, 0)}


def test_only_bad_signals_of_the_surge_s_own_ticks_and_key_count_for_it() -> None:
    noise = [
        *[said(10, "weather sunny", bad=0.69) for _ in range(10)],
        *[said(9, "before") for _ in range(3)],
        *[said(12, "after") for _ in range(10)],
        *[said(10, "other key", topic="politics") for _ in range(10)],
        *[said(10, "too late", late=True) for _ in range(10)],
        *[said(10, "", counted=Counted(5, 9)) for _ in range(10)],
    ]
    assert named(words([*USUAL, *SURGE, *noise])) == {"bank", "run", "ruritania", "fall"}


def test_where_members_rose_they_are_compared_with_their_own_past() -> None:
    others = [said(n % 10, "bank run in Ruritania", source="wire") for n in range(100)]
    signals = [*USUAL, *others, *SURGE]
    assert "ruritania" not in named(words(signals))
    risen = replace(TRANSITION, members=[Member("source:web", 9, 9, 1, 0.001)])
    found = words(signals, risen)
    assert named(found) == {"bank", "run", "ruritania", "fall"}
    assert (found.here, found.baseline) == (10, 100)


def test_a_syndicated_story_counts_once_a_tick() -> None:
    copies = [said(10, "minister resigns", story=77) for _ in range(10)]
    fine = [said(10, "minister resigns", bad=0.2, story=77)]
    found = words([*USUAL, *SURGE, *fine, *copies])
    assert named(found) == {"bank", "run", "ruritania", "fall"}
    assert found.here == 11


def test_a_word_counts_once_a_signal() -> None:
    found = words([*USUAL, *SURGE, said(11, "debt " * 50)])
    assert "debt" not in named(found)


def test_log_lines_are_compared_by_their_templates() -> None:
    logs = replace(DEFINITION, kind="logs")
    usual = [said(n % 10, f"session 0x{n:x} opened") for n in range(100)]
    surge = [said(10, f"timeout of node7 after {n} ms") for n in range(10)]
    risen = replace(TRANSITION, definition=logs.version)
    assert named(words([*usual, *surge], risen, name=logs.version, definition=logs)) == {"timeout", "of", "after", "ms"}


def test_what_another_definition_counted_is_left_out() -> None:
    assert words([*USUAL, *SURGE], name="another") == SurgeWords([], 0, 0)
    assert named(words([*USUAL, *SURGE], name=f"{DEFINITION.version}.3")) == {"bank", "run", "ruritania", "fall"}


def test_the_ticks_in_which_it_was_pending_are_the_surge_s_own() -> None:
    slow = replace(DEFINITION, pending_ticks=3)
    risen = replace(TRANSITION, definition=slow.version, opened_us=11 * MINUTE)
    found = words([*USUAL, *SURGE], risen, name=slow.version, definition=slow)
    assert (found.here, found.baseline) == (10, 90)
    assert {(word.here, word.baseline) for word in found.words} == {(10, 0)}


def test_a_drop_has_no_words() -> None:
    assert words([*USUAL, *SURGE], replace(TRANSITION, direction="down")) == SurgeWords([], 0, 0)


@given(st.data())
def test_the_cuts_of_the_record_change_nothing(data: st.DataObject) -> None:
    texts = st.sampled_from(["shares rise", "bank run", "bank fails", "shares fall again", ""])
    one = st.builds(
        said,
        st.integers(0, 12),
        texts,
        bad=st.sampled_from([0.1, 0.7, 0.9]),
        late=st.booleans(),
        story=st.sampled_from([0, 0, 1, 2]),
    )
    signals = data.draw(st.lists(one, max_size=60))
    cuts = data.draw(st.lists(st.integers(0, len(signals)), max_size=5))
    assert words(signals, cuts=cuts) == words(signals)
