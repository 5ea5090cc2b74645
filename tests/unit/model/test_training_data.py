"""Copies, parts and forms of the training data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from model.base import find_base
from model.data.contrast import contrast
from model.data.example import Example, distinct, normalised, split_by_hash
from model.data.log_lines import loghub, message, template
from model.data.public_sets import crisislex_t6, crisislex_t26
from model.training import recipe


def test_a_set_without_files_is_missing(tmp_path: Path) -> None:
    for read in (crisislex_t6, crisislex_t26, loghub):
        with pytest.raises(FileNotFoundError, match=r"csv|log"):
            list(read(tmp_path))


def test_copies_of_a_text_are_dropped() -> None:
    texts = ["RT @a: Floods in town http://t.co/x1", "floods in TOWN", "Floods in city"]
    kept = distinct(Example(text, 1, "s", "g") for text in texts)
    assert [example.text for example in kept] == [texts[0], texts[2]]
    assert normalised("Up 3.5% at 9:00") == "up at"


def test_a_split_keeps_its_proportions_and_its_members() -> None:
    parts = [split_by_hash(f"key {n}", tune=0.1, test=0.2) for n in range(5000)]
    assert abs(parts.count("test") / 5000 - 0.2) < 0.02
    assert abs(parts.count("tune") / 5000 - 0.1) < 0.02
    assert split_by_hash("a headline") == split_by_hash("a headline")


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ("took 15 ms at 0xdeadbeef", "took <*> ms at <*>"),
        ("from 10.1.2.3:80 to /var/log/x.log", "from <*> to <*>"),
        ("req-1 38101a0b-2096-447d-96ea-a692162415ae ok", "req-<*> <*> ok"),
    ],
)
def test_ids_addresses_paths_and_numbers_are_masked(line: str, masked: str) -> None:
    assert template(line) == masked


@pytest.mark.parametrize(
    "line",
    [
        "Jun 14 15:16:01 combo sshd: started",
        "081109 203615 148 sshd: started",
        "2015-10-18 18:01:47,978 sshd: started",
        "[Sun Dec 04 04:47:44 2005] sshd: started",
    ],
)
def test_the_message_is_what_follows_time_and_host(line: str) -> None:
    assert message(line) == "sshd: started"


def test_no_contrast_sentence_is_both_bad_and_fine() -> None:
    labels: dict[str, float] = {}
    for example in contrast():
        assert labels.setdefault(normalised(example.text), example.target) == example.target, example.text


def test_contrast_sentences_are_filled_the_same_way_every_time() -> None:
    texts = [example.text for example in contrast()]
    assert texts == [example.text for example in contrast()]
    assert not any("{" in text for text in texts)


def test_sentences_that_are_made_to_be_hard_do_not_calibrate(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(recipe, "adapt", lambda *given, **named: asked.update(named, checked=given[2]))
    checked = [Example("a", 1, "sentfin", "a"), Example("b", 0, "contrast:finance", "b"), Example("c", 0, "t6", "c")]
    recipe.train(find_base(), recipe.Lesson([], checked, "lora", recipe.SETTINGS), lambda *_: None)
    assert asked["checked"] == checked
    assert [example.text for example in asked["calibrating"]] == ["a", "c"]
