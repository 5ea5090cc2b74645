"""Stories: copies of a text share one, other texts do not."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ingest.story import story_of


def test_copies_with_other_case_punctuation_and_spacing_are_one_story() -> None:
    assert story_of("Bank fails, 3,000 lose jobs!") == story_of("  bank FAILS - 3 000 lose\njobs")


def test_other_words_are_another_story() -> None:
    assert story_of("Bank fails") != story_of("Banks fail")
    assert story_of("3 dead") != story_of("4 dead")


def test_a_text_without_words_has_no_story() -> None:
    assert story_of("") == story_of(" ... !\x00_") == 0


def test_a_story_never_changes() -> None:
    """It is part of recorded signals and saved states: another hash would count a story twice."""
    assert story_of("Bank fails") == 2234859091262699281


@settings(max_examples=100)
@given(st.text(st.characters(), max_size=40))
def test_any_text_has_a_story_of_63_bits(text: str) -> None:
    assert 0 <= story_of(text) < 2**63
