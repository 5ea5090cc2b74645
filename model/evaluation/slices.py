"""Slices: the kinds of text on which a classifier fails first, cut out of the test texts or written for it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from model.data.example import Example

_NEGATED = re.compile(r"\b(no|not|never|without|nor|none|n't|denies|denied)\b|n't\b", re.IGNORECASE)
_WORDS = re.compile(r"[^\W\d_]{2,}")

#: Slices that are cut out of the test texts of every source.
CUTS: dict[str, Callable[[str], bool]] = {
    "negation": lambda text: bool(_NEGATED.search(text)),
    "very short (four words at most)": lambda text: len(text.split()) <= 4,
    "very long (100 words and more)": lambda text: len(text.split()) >= 100,
}

#: Texts of such a slice that upper case is tried on.
_UPPER = 1000


def cut(examples: Sequence[Example]) -> Iterator[tuple[str, list[int]]]:
    """(name, rows) of the slices of these texts."""
    for name, belongs in CUTS.items():
        yield name, [row for row, example in enumerate(examples) if belongs(example.text)]


def written() -> list[Example]:
    """Sentences in other languages, and lines of numbers alone: written for this project, in `slices.toml`."""
    with (Path(__file__).parent / "slices.toml").open("rb") as file:
        table = tomllib.load(file)
    return [
        Example(text, float(label == "bad"), name, text)
        for name, sentences in table.items()
        for label in ("bad", "fine")
        for text in sentences[label]
    ]


def upper(examples: Sequence[Example]) -> list[Example]:
    """Some of the texts in upper case."""
    step = max(1, len(examples) // _UPPER)
    return [
        Example(example.text.upper(), example.target, "upper case", example.group)
        for example in examples[::step]
        if _WORDS.search(example.text)
    ]
