"""The bench of scoring: what it scores, how it takes turns, and what it counts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random
from statistics import mean

import pytest

from pipeline.bench.contestant import Contestant, Outcome, Runner
from pipeline.bench.rounds import flips_per_1000, largest_change, median_ratio, rounds
from pipeline.bench.scoring import processor_ratio
from pipeline.bench.scoring_texts import apart, even_shares, log_lines, mixed_texts, sample_like, texts_of
from pipeline.errors import ModelError, SourceError, UsageError


def test_a_sample_has_the_lengths_of_all_and_their_order() -> None:
    draw = Random(5)
    texts = [f"{i} {'x' * int(draw.paretovariate(1) * 10)}"[:2000] for i in range(3000)]
    sample = sample_like(texts, 300)
    assert len(set(sample)) == 300
    assert [text for text in texts if text in set(sample)] == sample
    assert mean(map(len, sample)) == pytest.approx(mean(map(len, texts)), rel=0.05)
    assert sample_like(texts[:7], 300) == texts[:7]


def test_every_set_gives_the_same_number_and_large_ones_what_small_ones_lack() -> None:
    sets = {name: [f"{name}{i}" for i in range(size)] for name, size in (("a", 10), ("b", 100), ("c", 100))}
    chosen = even_shares(sets, 110, seed=1)
    assert Counter(text[0] for text in chosen) == {"a": 10, "b": 50, "c": 50}
    assert len(set(chosen)) == 110
    assert chosen == even_shares(sets, 110, seed=1)
    assert chosen != even_shares(sets, 110, seed=2)
    assert len(even_shares(sets, 1000, seed=1)) == 210


def test_texts_that_are_scored_as_one_come_once() -> None:
    assert apart({"one": ["a  b", "a b ", "", " \t", "c", "a b"], "other": ["c", "d"]}) == {
        "one": ["a  b", "c"],
        "other": ["d"],
    }


def test_rounds_are_all_the_texts_in_order() -> None:
    texts = [str(i) for i in range(23)]
    parts = list(rounds(texts, 5))
    assert [text for part in parts for text in part] == texts
    assert {len(part) for part in parts} == {4, 5}
    assert list(rounds(["a", "b"], 5)) == [["a"], ["b"]]


def test_the_ratio_compares_within_a_round() -> None:
    # Everything was slow in the second round: the ratio is that of the others all the same.
    assert median_ratio([100, 10, 120], [10, 1, 10]) == 10


def test_processor_time_is_compared_for_each_text() -> None:
    ours = [(Outcome(9, processor_seconds=1), 100), (Outcome(9, processor_seconds=3), 100)]
    assert processor_ratio(ours, [(Outcome(9, processor_seconds=2), 10)]) == pytest.approx(10)


def test_a_label_flips_where_one_probability_is_a_half_or_more_and_the_other_is_not() -> None:
    assert flips_per_1000([0.4, 0.6, 0.5, 0.51], [0.45, 0.4, 0.49, 0.5]) == 500
    assert flips_per_1000([0.499996, 0.5], [0.5, 0.500004]) == 0  # shown as .5, all of them
    assert flips_per_1000([0.499994], [0.499996]) == 1000
    assert flips_per_1000([0.1] * 2000, [0.1] * 1999 + [0.9]) == 0.5
    assert largest_change([0.4, 0.6], [0.5, 0.1]) == 0.5
    assert flips_per_1000([], []) == largest_change([], []) == 0


def test_a_score_that_is_no_probability_is_no_quiet_agreement() -> None:
    with pytest.raises(ModelError, match="no probability"):
        flips_per_1000([float("nan")], [0.2])


def test_a_file_of_texts_is_read_and_its_mistakes_are_named(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text":"one","id":7}\n\n{"text":"tw\\u00f6"}\n')
    assert texts_of(file) == ["one", "twö"]
    file.write_text('{"text":"one"}\n{"txt":"two"}\n')
    with pytest.raises(SourceError, match=r"texts\.jsonl, line 2: .*text"):
        texts_of(file)
    file.write_text('{"text":" "}\n')
    with pytest.raises(SourceError, match="holds no texts"):
        texts_of(file)
    with pytest.raises(SourceError, match="No such file"):
        texts_of(tmp_path / "missing")


def test_without_the_public_texts_it_says_how_to_score_others(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--texts FILE"):
        mixed_texts(tmp_path, 10, 1)
    with pytest.raises(UsageError, match="--texts FILE"):
        log_lines(tmp_path)


def test_lines_of_systems_alternate_and_keep_their_order(tmp_path: Path) -> None:
    (tmp_path / "news/sentfin").mkdir(parents=True)
    (tmp_path / "logs/loghub").mkdir(parents=True)
    (tmp_path / "logs/loghub/A_2k.log").write_text("a1\na2\n\na3\n")
    (tmp_path / "logs/loghub/B_2k.log").write_text("b1\nb2\n")
    assert log_lines(tmp_path) == ["a1", "b1", "a2", "b2", "a3"]


def _lengths(per_text: int) -> Runner:
    if per_text < 0:
        raise ModelError("no such engine")
    return lambda texts: Outcome(0.1, tokens=per_text * sum(map(len, texts)))


def _broken() -> Runner:
    return lambda texts: Outcome(1 / len(texts[0]))


def _dying() -> Runner:
    raise SystemExit(3)


def test_a_contestant_runs_in_its_own_process_and_says_why_it_cannot() -> None:
    with Contestant(_lengths, 2) as one:
        assert one.run(["a", "bcd"]).tokens == 8
        assert one.run(["a"]).tokens == 2
    with Contestant(_lengths, -1) as one, pytest.raises(ModelError, match="no such engine"):
        one.run(["a"])
    with Contestant(_broken) as one:
        with pytest.raises(ModelError, match="ZeroDivisionError"):
            one.run([""])
        assert one.run(["a"]).seconds == 1
    with Contestant(_dying) as one, pytest.raises(ModelError, match="exit code 3"):
        one.run(["a"])
