"""Log-odds with an informative Dirichlet prior: against values worked out by hand, and what must hold of all counts."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.detect.log_odds import LEAST_Z, Word, log_odds_z, over_represented

counts = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 200), min_size=2)


def found(here: Mapping[str, int], baseline: Mapping[str, int], most: int = 10) -> list[Word]:
    return over_represented(here, baseline, sum(baseline.values()), most=most)


def test_a_z_score_worked_out_by_hand() -> None:
    # y = (10, 5), n = (100, 1000), prior 1.5 of 110:
    # ln(11.5 / (210 - 11.5)) - ln(6.5 / (1110 - 6.5)) = -2.848442 + 5.134440 = 2.285998; variance 1/11.5 + 1/6.5.
    assert log_odds_z(10, 100, 5, 1000) == pytest.approx(2.285998 / 0.490716, abs=1e-4)


def test_a_word_that_both_say_as_often_has_no_z_score() -> None:
    assert log_odds_z(10, 100, 100, 1000) == pytest.approx(0, abs=1e-12)


def test_what_multiplied_stands_out_and_what_is_common_everywhere_does_not() -> None:
    here = {"refused": 20, "the": 30, "on": 10}
    baseline = {"the": 2500, "on": 1000, "ok": 1500}
    # ln(22 / (566 - 22)) - ln(2 / (5506 - 2)) = 4.712178; variance 1/22 + 1/2.
    assert found(here, baseline) == [Word("refused", 20, 0, 6.38)]
    assert [word.word for word in found(here, baseline | {"refused": 50})] == ["refused"]


def test_a_new_word_of_one_text_is_an_accident() -> None:
    here = {"once": 1, "thrice": 3, "ok": 30}
    assert [word.word for word in found(here, {"ok": 1_000_000, "the": 1_000_000})] == ["thrice"]


def test_without_a_baseline_or_without_a_surge_nothing_stands_out() -> None:
    assert found({"a": 50, "b": 3}, {}) == []
    assert found({}, {"a": 50}) == []
    assert found({"a": 50}, {"a": 3}) == []


def test_words_that_stand_out_alike_come_by_name_and_no_more_than_asked_for() -> None:
    here = {"d": 50, "b": 50, "c": 50}
    assert [word.word for word in found(here, {"e": 1000}, most=2)] == ["b", "c"]


@given(counts, counts)
def test_what_one_side_says_more_the_other_says_less(here: dict[str, int], baseline: dict[str, int]) -> None:
    here_all, baseline_all = sum(here.values()), sum(baseline.values())
    for word in {*here, *baseline}:
        one, other = here.get(word, 0), baseline.get(word, 0)
        z = log_odds_z(one, here_all, other, baseline_all)
        assert z == pytest.approx(-log_odds_z(other, baseline_all, one, here_all))
        assert math.isfinite(z)
        # The sign is that of the difference of the shares.
        difference = one * baseline_all - other * here_all
        assert z == pytest.approx(0, abs=1e-9) if not difference else (z > 0) == (difference > 0)


@given(counts, counts, st.integers(1, 5))
def test_what_stands_out_is_a_selection_in_order(here: dict[str, int], baseline: dict[str, int], most: int) -> None:
    words = found(here, baseline, most)
    assert len(words) <= most
    assert words == sorted(words, key=lambda word: (-word.z, word.word))
    assert all(word.here > 1 and word.z >= LEAST_Z for word in words)
    assert words == found(dict(reversed(here.items())), dict(reversed(baseline.items())), most)
