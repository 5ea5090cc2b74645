"""The score cache: bounded, least recently used goes first, long texts are told apart."""

from __future__ import annotations

from pipeline.scoring.cache import ScoreCache
from pipeline.scoring.engine import Score


def score(n: float) -> Score:
    return Score(n, "other")


def test_the_cache_is_bounded_and_forgets_what_was_not_used() -> None:
    cache = ScoreCache(2)
    cache.put("a", score(0.1))
    cache.put("b", score(0.2))
    assert cache.get("a") == score(0.1)
    cache.put("c", score(0.3))
    assert len(cache) == 2
    assert cache.get("b") is None
    assert cache.get("a") == score(0.1)
    assert cache.get("c") == score(0.3)


def test_hits_and_misses_are_counted() -> None:
    cache = ScoreCache(2)
    cache.put("a", score(0.1))
    for text in ("a", "a", "b"):
        cache.get(text)
    assert (cache.hits, cache.misses) == (2, 1)


def test_long_texts_that_begin_alike_are_told_apart() -> None:
    cache = ScoreCache(10)
    cache.put("x" * 5000 + "a", score(0.1))
    assert cache.get("x" * 5000 + "b") is None
    assert cache.get("x" * 5000 + "a") == score(0.1)


def test_a_text_that_no_file_could_hold_is_a_key_as_well() -> None:
    cache = ScoreCache(10)
    for text in ("\ud800", "\ud800" * 500, "\x00", ""):
        cache.put(text, score(0.5))
        assert cache.get(text) == score(0.5)
