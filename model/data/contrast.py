"""Sentences of this project: bad news, and the good or ordinary news that looks like it.

They teach what no public set here does: that an outbreak declared over, a link restored or a warning lifted is
not bad, nor everything that shares its words. See `sentences/`: a file has a `domain` (its topic) and sentences
that are `bad` and `fine`; `grammar.toml` has subjects and what is said of them; slots are filled from `slots.toml`. All
are free of any licence.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from model.data.example import Example

_FOLDER = Path(__file__).with_name("sentences")
_SLOT = re.compile(r"\{(\w+)\}")

#: What logs put before a message; the empty one keeps half of the lines bare.
_HEADERS = (
    "",
    "{host} app[{n}]: ",
    "",
    "2024-05-03T10:11:{n} {host} {service}[<*>]: ",
    "",
    "<*> <*> {level} {service}: ",
    "",
    "May 14 <*> {host} {service}: ",
    "",
    "{level} ",
)
_LEVELS = {True: ("ERROR", "FATAL", "WARN", "CRITICAL"), False: ("INFO", "INFO", "NOTICE", "DEBUG")}


def contrast(copies: int = 4, subjects: int = 6) -> Iterator[Example]:
    """Every sentence `copies` times with its slots filled differently (once if it has none, or its file says `once`),
    every ending of the grammar with `subjects` of its subjects, and every word for up or down with as many measures of
    either sort.

    The group is the sentence, or the ending, itself: a split holds out whole sentences, never fillings of one.
    """
    read = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(_FOLDER.glob("*.toml"))}
    slots: dict[str, list[str]] = read.pop("slots")
    grammars = read.pop("grammar")
    for grammar in grammars["grammar"]:
        for bad in (True, False):
            for ending in grammar["bad" if bad else "fine"]:
                for copy in range(subjects):
                    subject = _pick(grammar["subjects"], ending, copy)
                    sentence = f"{subject} {ending}".replace(" :", ":")
                    yield _example(grammar["domain"], sentence, ending, bad, slots, copy)
    for measures in grammars["measures"]:
        for sort, is_bad in (("good", {"falls"}), ("bad", {"rises"})):
            for way in ("rises", "falls"):
                for ending in measures[way]:
                    for copy in range(subjects):
                        sentence = f"{_pick(measures[sort], ending, copy)} {ending}"
                        yield _example(measures["domain"], sentence, ending, way in is_bad, slots, copy)
    for sentences in read.values():
        for bad in (True, False):
            for sentence in sentences["bad" if bad else "fine"]:
                for copy in range(copies if _SLOT.search(sentence) and not sentences.get("once") else 1):
                    yield _example(sentences["domain"], sentence, sentence, bad, slots, copy)


def _example(domain: str, sentence: str, group: str, bad: bool, slots: dict[str, list[str]], copy: int) -> Example:
    if domain in ("infrastructure", "security"):
        sentence = _pick(_HEADERS, sentence, copy) + sentence
    choices = {**slots, "level": _LEVELS[bad]}
    text = _SLOT.sub(lambda slot: _pick(choices[slot[1]], sentence + slot[1], copy), sentence)
    return Example(text, 0.98 if bad else 0.02, f"contrast:{domain}", group)


def _pick(choices: Sequence[str], seed: str, copy: int) -> str:
    """One of the choices: the same for the same seed, the next one for the next copy."""
    return choices[(hashlib.sha256(seed.encode()).digest()[0] + copy) % len(choices)]
