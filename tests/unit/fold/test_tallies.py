"""Tallying: integer counts by key and tick, evidence by score, whatever the cuts."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.keys import bucket_of
from pipeline.records import Counted, Exemplar, Key, ScoreSlice, Signal, SignalSlice, Tally, TallySlice, encode
from pipeline.streams import Definition
from pipeline.tallies import EXEMPLAR_CHARACTERS, EXEMPLARS, Sum, Tallier, best_exemplars


def definition(**changes: object) -> Definition:
    made: dict[str, object] = {
        "name": "s",
        "kind": "news",
        "tick_us": 60_000_000,
        "group": ("topic",),
        "member": ("source",),
        "overall": True,
        "threshold": 0.5,
    }
    return Definition(**(made | changes))  # type: ignore[arg-type]


def signal(position: int, **changes: object) -> Signal:
    made: dict[str, object] = {
        "position": position,
        "id": "",
        "time_us": 0,
        "tick": 0,
        "late": False,
        "text": f"text {position}",
        "source": "web",
    }
    return Signal(**(made | changes))  # type: ignore[arg-type]


def scored(signals: list[Signal], probabilities: list[float], topics: list[str] | None = None) -> ScoreSlice:
    slice = SignalSlice("s", "d", "s/p", 3, 9, False, 77, [0, 1], signals, 0, [])
    return ScoreSlice(slice, "m", probabilities, topics or ["finance"] * len(signals))


def tally(definition: Definition, scored: ScoreSlice, buckets: int) -> list[TallySlice]:
    return Tallier(definition, buckets).tally(scored)


def by_key(tallies: dict[int, dict[Key, Tally]]) -> dict[tuple[str, str, int], Tally]:
    return {(*key, tick): one for tick, found in tallies.items() for key, one in found.items()}


def test_a_signal_counts_for_each_of_its_keys() -> None:
    (slice,) = tally(definition(), scored([signal(3), signal(4)], [0.9, 0.1]), 1)
    found = {key: (t.bad, t.total) for key, t in by_key(slice.tallies).items()}
    assert found == {
        ("all", "", 0): (1, 2),
        ("topic:finance", "", 0): (1, 2),
        ("topic:finance", "source:web", 0): (1, 2),
    }


def test_a_score_at_the_threshold_is_bad_and_just_below_it_is_not() -> None:
    (slice,) = tally(definition(), scored([signal(3), signal(4)], [0.5, 0.499999]), 1)
    everything = by_key(slice.tallies)["all", "", 0]
    assert (everything.bad, everything.total) == (1, 2)


def test_late_signals_are_not_tallied() -> None:
    (slice,) = tally(definition(), scored([signal(3, late=True)], [0.9]), 1)
    assert slice.tallies == {}


def test_counts_that_an_item_brought_are_added_as_they_are() -> None:
    (slice,) = tally(
        definition(), scored([signal(3, counted=Counted(4, 10)), signal(4)], [0.0, 0.9], ["", "finance"]), 1
    )
    assert {k: (t.bad, t.total) for k, t in by_key(slice.tallies).items()}["all", "", 0] == (5, 11)


def test_copies_of_a_story_are_kept_apart_from_the_counts() -> None:
    signals = [signal(3, story=7), signal(4, story=7), signal(5, story=8), signal(6)]
    (slice,) = tally(definition(), scored(signals, [0.1, 0.9, 0.1, 0.9]), 1)
    everything = by_key(slice.tallies)["all", "", 0]
    assert (everything.bad, everything.total, everything.stories) == (1, 1, {7: 1, 8: 0})
    assert everything.sources == {"web": 2}


def test_every_bucket_gets_the_slice_empty_or_not() -> None:
    slices = tally(definition(), scored([signal(3)], [0.9]), 5)
    assert [s.bucket for s in slices] == [0, 1, 2, 3, 4]
    assert {(s.partition, s.start, s.end, s.watermark_us, tuple(s.touched)) for s in slices} == {
        ("s/p", 3, 9, 77, (0, 1))
    }
    for slice in slices:
        assert all(bucket_of(group, 5) == slice.bucket for group, _, _ in by_key(slice.tallies))
    assert sum(len(by_key(s.tallies)) for s in slices) == 3


def test_evidence_shows_each_text_once_and_cut() -> None:
    signals = [signal(3, text="a" * 1000), signal(4, text="a" * 1000, id="x"), signal(5, text="b")]
    (slice,) = tally(definition(), scored(signals, [0.9, 0.95, 0.7]), 1)
    found = by_key(slice.tallies)["all", "", 0].exemplars
    assert [(e.id, e.score, len(e.text)) for e in found] == [("x", 0.95, EXEMPLAR_CHARACTERS), ("s/p@5", 0.7, 1)]


def test_of_equal_scores_the_first_ids_are_shown() -> None:
    signals = [signal(n, id=f"i{99 - n}", text=f"text {n}") for n in range(40)]
    (slice,) = tally(definition(), scored(signals, [0.9] * 40), 1)
    assert [e.id for e in by_key(slice.tallies)["all", "", 0].exemplars] == ["i60", "i61", "i62", "i63", "i64"]


def test_a_sum_leaves_the_tallies_that_it_was_made_of_as_they_were() -> None:
    made = [tally(definition(), scored([signal(n, story=n)], [0.9]), 1)[0] for n in (3, 4)]
    one, other = (by_key(slice.tallies)["all", "", 0] for slice in made)
    before = [(dict(t.stories), list(t.exemplars), dict(t.sources)) for t in (one, other)]
    found = Sum.of((one, other))
    found.add(other)
    assert (len(found.stories), len(found.exemplars), found.sources) == (2, 2, {"web": 3})
    assert [(t.stories, t.exemplars, t.sources) for t in (one, other)] == before


def test_what_is_tallied_of_a_slice_does_not_depend_on_those_before() -> None:
    tallier = Tallier(definition(), 2)
    first = scored([signal(3), signal(4, source="b")], [0.9, 0.7])
    fresh = encode(tallier.tally(first)[0])
    tallier.tally(scored([signal(5), signal(6)], [0.9, 0.1], ["other", "finance"]))
    assert encode(tallier.tally(first)[0]) == fresh


_SIGNALS = st.lists(
    st.tuples(
        st.integers(0, 2),  # tick
        st.sampled_from(["a", "b"]),  # source
        st.sampled_from([0.1, 0.49, 0.5, 0.51, 0.7, 0.9, 0.99]),
        st.sampled_from(["finance", "other"]),
        st.sampled_from([f"t{n}" for n in range(9)]),
        st.booleans(),  # late
    ),
    max_size=60,
)


@settings(max_examples=120)
@given(_SIGNALS, st.integers(1, 4), st.integers(1, 9))
def test_tallies_are_those_of_a_plain_count_whatever_the_cuts(
    made: list[tuple[int, str, float, str, str, bool]], buckets: int, cut: int
) -> None:
    d = definition()
    expected: dict[tuple[str, str, int], list[int]] = defaultdict(lambda: [0, 0])
    evidence: dict[tuple[str, str, int], list[Exemplar]] = defaultdict(list)
    for n, (tick, source, p, topic, text, late) in enumerate(made):
        for key in (("all", ""), (f"topic:{topic}", ""), (f"topic:{topic}", f"source:{source}")):
            if not late:
                expected[*key, tick][0] += p >= 0.5
                expected[*key, tick][1] += 1
                if p >= 0.5:
                    evidence[*key, tick].append(Exemplar(-round(p * 1e6), f"s/p@{n}", 0, source, text, topic))
    counts: dict[tuple[str, str, int], list[int]] = defaultdict(lambda: [0, 0])
    offered: dict[tuple[str, str, int], list[Exemplar]] = defaultdict(list)
    for start in range(0, len(made), cut):
        part = made[start : start + cut]
        signals = [
            signal(start + i, tick=tick, source=source, text=text, late=late)
            for i, (tick, source, _, _, text, late) in enumerate(part)
        ]
        for slice in tally(d, scored(signals, [m[2] for m in part], [m[3] for m in part]), buckets):
            for key, one in by_key(slice.tallies).items():
                counts[key][0] += one.bad
                counts[key][1] += one.total
                offered[key] = best_exemplars([*offered[key], *one.exemplars])
    assert counts == expected
    for key, found in offered.items():
        best: list[Exemplar] = []
        for exemplar in sorted(evidence[key]):
            if exemplar.text not in {e.text for e in best} and len(best) < EXEMPLARS:
                best.append(exemplar)
        assert found == best
