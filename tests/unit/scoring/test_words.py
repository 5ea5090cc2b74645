"""Words: where they stand, and which of them tell."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.scoring.words import places, vocabulary


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "Bank's U.S. unit cuts 3,000 jobs, debt-laden; at 10:04",
            "Bank's U.S unit cuts 3,000 jobs debt-laden at 10:04",
        ),
        ("disk <*> failed: error,code", "disk <*> failed error code"),
        ("銀行の損失", "銀 行 の 損 失"),
        ("été \u0625\u0646\u0630\u0627\u0631", "été \u0625\u0646\u0630\u0627\u0631"),
        ("", ""),
        ("?! \U0001f525 --", ""),
    ],
)
def test_words_are_what_a_reader_would_call_so(text: str, words: str) -> None:
    assert [text[start:end] for start, end in places(text)] == words.split()


@given(st.text())
def test_places_are_in_order_and_apart_and_never_empty(text: str) -> None:
    found = places(text)
    assert all(start < end for start, end in found)
    assert all(one[1] <= other[0] for one, other in pairwise(found))


def test_a_vocabulary_leaves_out_case_numbers_and_masks() -> None:
    assert vocabulary("Error 42 on <*>: error at node7, 3.5 times") == {"error", "on", "at", "node7", "times"}


def test_hostile_text_takes_linear_time() -> None:
    began = time.process_time()
    for text in ("a-" * 100_000, "1," * 100_000, "<*" * 100_000, "\ud800" * 100_000):
        places(text)
    assert time.process_time() - began < 2
