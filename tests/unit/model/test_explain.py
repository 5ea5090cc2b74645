"""Explanations, with engines whose reasons are known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.explain import BLANK, ROWS, explain
from pipeline.scoring.engine import Score, Tokens
from pipeline.scoring.null_engine import NullEngine


class Weighted:
    """A word is a token; each of some words moves the probability from 0.5 by what it weighs. It reads `window` tokens
    of a text, and notes the rows that it scored."""

    name = "weighted"
    precision = "exact"
    version = "weighted-1"

    def __init__(self, weights: dict[str, float], window: int = 256) -> None:
        self._weights = weights
        self._window = window
        self._words: list[str] = []
        self.rows: list[Tokens] = []
        self.largest = 0

    def encode(self, texts: Sequence[str], kind: str) -> list[Tokens]:
        return [[self._number(word) for word in text.split()][: self._window] for text in texts]

    def score(self, batch: Sequence[Tokens]) -> list[Score]:
        self.rows += batch
        self.largest = max(self.largest, len(batch) * max(map(len, batch)))
        return [Score(self._probability([self._weights.get(self._words[n], 0) for n in row]), "other") for row in batch]

    def score_each(self, batches: Iterable[Sequence[Tokens]]) -> Iterator[list[Score]]:
        return map(self.score, batches)

    def _probability(self, weights: Sequence[float]) -> float:
        return 0.5 + sum(weights)

    def _number(self, word: str) -> int:
        if word not in self._words:
            self._words.append(word)
        return self._words.index(word)


class Enough(Weighted):
    """A text is bad when any of its words makes it so, each with its own probability (a noisy or)."""

    def _probability(self, weights: Sequence[float]) -> float:
        return 1 - math.prod(1 - weight for weight in weights)


def test_each_word_has_what_it_adds_and_the_largest_is_first() -> None:
    engine = Weighted({"loss": 0.25, "fine": -0.3, "jobs": 0.05})
    found = explain(engine, "a loss of jobs is fine", "news")
    assert found == [("fine", -0.3), ("loss", 0.25), ("jobs", 0.05)]


def test_words_that_add_the_same_stand_as_in_the_text_and_no_more_are_given_than_asked_for() -> None:
    engine = Weighted({"b": 0.1, "a": 0.1, "c": -0.1})
    assert explain(engine, "x b a c", "news", most=2) == [("b", 0.1), ("a", 0.1)]


def test_a_word_that_occurs_twice_is_listed_for_each_place() -> None:
    assert explain(Weighted({"loss": 0.2}), "loss upon loss", "news") == [("loss", 0.2), ("loss", 0.2)]


@pytest.mark.parametrize("text", ["", " \n\t", "?!", "\U0001f525", "\ud800", "\x00"])
@pytest.mark.parametrize("kind", ["news", "logs"])
def test_a_text_without_words_has_no_explanation(text: str, kind: str) -> None:
    assert explain(NullEngine(), text, kind) == []


def test_of_a_log_line_the_template_is_explained() -> None:
    engine = Weighted({"<*>": 0.1, "disk": 0.3})
    assert explain(engine, "disk 17 at 10.0.0.1", "logs") == [("disk", 0.3), ("<*>", 0.1), ("<*>", 0.1)]


def test_a_long_text_is_cut_into_spans_at_a_bounded_cost() -> None:
    words = [f"w{i}" for i in range(250)]
    engine = Weighted({"w100": 0.4})
    ((span, adds),) = explain(engine, " ".join(words), "news")
    assert "w100" in span.split()
    assert 3 <= len(span.split()) <= 4
    assert adds == 0.4
    assert len(engine.rows) <= ROWS
    assert engine.largest <= 8192


def test_halves_of_surrogate_pairs_are_shown_as_question_marks_and_change_no_value() -> None:
    words = [f"w{i}" for i in range(130)]
    broken, asked = (explain(Weighted({"w100": 0.4}), mark.join(words), "news") for mark in (" \ud83d ", " ? "))
    assert broken == asked
    assert " ? " in broken[0][0]


def test_spans_cover_every_word_once() -> None:
    words = [f"w{i}" for i in range(200)]
    engine = Weighted(dict.fromkeys(words, 0.001))
    found = explain(engine, " ".join(words), "news", most=ROWS)
    assert len(found) == ROWS - 1
    assert sorted(word for span, _ in found for word in span.split()) == sorted(words)


def test_what_the_engine_does_not_read_is_no_reason() -> None:
    engine = Weighted({"late": 0.4, "early": 0.1}, window=4)
    assert explain(engine, "early a b c late d", "news") == [("early", 0.1)]
    # Words behind the window share the row of the whole text.
    assert len(engine.rows) == 5


def test_ten_megabytes_are_explained_at_the_same_cost() -> None:
    engine = Weighted({"loss": 0.1})
    assert explain(engine, "loss and fraud " * 700_000, "news")
    assert explain(engine, "x" * 10_000_000, "news") == []
    assert len(engine.rows) <= 2 * ROWS


def test_words_of_which_each_is_enough_share_what_they_move_together() -> None:
    found = dict(explain(Enough({"war": 0.9, "murder": 0.8, "rain": 0.1}), "war and murder in the rain", "news"))
    # .982 with all of them, .1 without the two. By itself "war" takes .162 and "murder" .072.
    assert found["war"] + found["murder"] == pytest.approx(0.882)
    assert found["war"] == pytest.approx((0.162 + 0.81) / 2)
    assert found["murder"] == pytest.approx((0.072 + 0.72) / 2)
    assert found["rain"] == pytest.approx(0.002)


def test_a_text_that_one_word_makes_bad_is_looked_at_once() -> None:
    engine = Enough({"war": 0.9, "rain": 0.1})
    assert explain(engine, "war in the rain", "news") == [("war", 0.81), ("rain", 0.01)]
    assert len(engine.rows) == 1 + 4


def test_a_fine_text_is_looked_at_once() -> None:
    engine = Enough({"rain": 0.3, "snow": 0.2})
    assert [word for word, _ in explain(engine, "rain and snow", "news")] == ["rain", "snow"]
    assert len(engine.rows) == 1 + 3


def test_what_stays_bad_whatever_is_blanked_is_looked_at_so_often_and_no_more() -> None:
    words = [f"w{i}" for i in range(20)]
    engine = Enough(dict.fromkeys(words[:8], 0.5))
    assert len(explain(engine, " ".join(words), "news", most=60)) == 8
    assert len(engine.rows) == 1 + 20 + 19 + 18 + 1


@pytest.mark.parametrize(("number", "shared"), [(20, 3), (40, 3), (60, 2), (63, 1), (250, 1)])
def test_a_text_costs_no_more_rows_the_longer_it_is(number: int, shared: int) -> None:
    """The words that share are those of the greatest values: each is worth more beside the others' blanks."""
    words = [f"w{i}" for i in range(number)]
    engine = Enough(dict.fromkeys(words[4::5][:4], 0.6))
    found = [adds for _, adds in explain(engine, " ".join(words), "news", most=99)]
    assert [value > found[-1] for value in found].count(True) == (shared if shared > 1 else 0)
    assert len(engine.rows) <= ROWS


@given(st.text(), st.sampled_from(["news", "logs", "health"]), st.integers(1, 9))
def test_any_text_has_the_same_explanation_each_time_by_size(text: str, kind: str, most: int) -> None:
    found = explain(NullEngine(), text, kind, most=most)
    assert found == explain(NullEngine(), text, kind, most=most)
    assert len(found) <= most
    sizes = [abs(adds) for _, adds in found]
    assert sizes == sorted(sizes, reverse=True)
    assert all(0 < size <= 1 for size in sizes)
    assert all(word in text or kind == "logs" or " " in word for word, _ in found)


def test_a_blank_is_one_token_of_the_base() -> None:
    from model.base import find_base
    from model.tokenizing import TextTokenizer

    begin, one, end = TextTokenizer(find_base()).encode([BLANK])[0]
    assert len({begin, one, end}) == 3
