"""Templates: lines that differ in numbers share one; scoring many texts at once changes none of them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.scoring.template import SCORED_CHARACTERS, scored_texts

LINE = "Connection from 10.0.{n}.7:{n}80 to node-{n} failed at 12:30:{n} (code 0x{n}f, id a{n}b)"


def test_lines_that_differ_in_numbers_share_a_template() -> None:
    found = scored_texts("logs", [LINE.format(n=n) for n in (1, 22, 55)])
    assert len(set(found)) == 1
    assert not any(c.isdigit() for c in found[0])


def test_lines_that_differ_in_words_do_not() -> None:
    assert len(set(scored_texts("logs", ["disk 1 failed", "disk 1 replaced", "link 1 failed"]))) == 3


@pytest.mark.parametrize(
    "line",
    [
        '10.0.0.1 - - [26/Nov/2026:10:00:00 +0000] "GET /cart HTTP/1.1" {} 512',
        "GET /cart HTTP/2 {} in 12 ms",
        'INFO "GET /v2/servers" status: {} len: 1893',
        '{{"msg": "request finished", "status_code": "{}"}}',
        "upstream answered with status {}.",
    ],
)
def test_a_status_of_http_that_says_trouble_keeps_its_meaning(line: str) -> None:
    fine, missing, failed, gateway, denied = (
        scored_texts("logs", [line.format(status)])[0] for status in (200, 404, 500, 502, 403)
    )
    assert fine == missing
    assert "Server Error" in failed
    assert gateway == failed
    assert "Forbidden" in denied
    assert not any(c.isdigit() for c in failed)


@pytest.mark.parametrize("line", ["size=500", "status=500ms", "status: 5001", "status 500.7", "HTTP/1 took 500"])
def test_other_numbers_are_no_status(line: str) -> None:
    assert "Error" not in scored_texts("logs", [line])[0]


def test_prose_keeps_its_numbers_and_has_even_spaces() -> None:
    assert scored_texts("news", ["3 dead,\n\t40  hurt "]) == ["3 dead, 40 hurt "]


@pytest.mark.parametrize("kind", ["logs", "news"])
def test_nothing_is_scored_for_nothing(kind: str) -> None:
    assert scored_texts(kind, []) == []
    assert scored_texts(kind, ["", ""]) == ["", ""]


_TEXTS = st.text(st.sampled_from("ab1_.:- \n\r\t\x00\x1c\u2028é٣<*>\ud800"), max_size=30)


@settings(max_examples=300)
@given(st.lists(_TEXTS, max_size=8), st.sampled_from(["logs", "news"]))
def test_texts_scored_together_are_scored_as_each_alone(texts: list[str], kind: str) -> None:
    assert scored_texts(kind, texts) == [scored_texts(kind, [text])[0] for text in texts]


@pytest.mark.parametrize("cut", range(SCORED_CHARACTERS - 3, SCORED_CHARACTERS + 4))
def test_a_long_text_is_cut_alone_and_together(cut: int) -> None:
    text = "x" * cut + "123 tail"
    assert scored_texts("logs", [text, "a"])[0] == scored_texts("logs", [text])[0]
    assert len(scored_texts("news", ["y" * 10_000])[0]) == SCORED_CHARACTERS


@pytest.mark.parametrize(
    "hostile", ["a_" * 1000, "1" * 2000, "a" * 1999 + "1", "1.:-" * 500, "_1" * 1000, " \n" * 1000]
)
def test_hostile_text_costs_linear_time(hostile: str) -> None:
    began = time.process_time()
    for kind in ("logs", "news"):
        scored_texts(kind, [hostile] * 500)  # a megabyte
    assert time.process_time() - began < 3
