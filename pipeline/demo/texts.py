"""Texts of the generated day: templates with slots, read from the TOML files beside this module.

A slot is a list of words or a range of numbers; `{hex}` and `{ip}` are made up.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from random import Random
from typing import Any

_SLOT = re.compile(r"\{(\w+)\}")
_NO_WORDS: Mapping[str, str] = {}


def read_bank(name: str) -> dict[str, Any]:
    """The templates in `name`.toml."""
    text = resources.files("pipeline.demo").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


class Slots:
    """The slots of one bank. Every draw comes from the caller's source of randomness."""

    def __init__(self, words: Mapping[str, Sequence[str]], ranges: Mapping[str, Sequence[int]]) -> None:
        self._words = words
        self._ranges = ranges

    def words(self, draw: Random) -> dict[str, str]:
        """One choice of every word slot: what stays the same through a story."""
        return {name: draw.choice(choices) for name, choices in self._words.items()}

    def fill(self, draw: Random, template: str, words: Mapping[str, str] = _NO_WORDS) -> str:
        """`template` with its slots filled: from `words` where they say so, else anew. A word that stands twice
        is the same word; numbers differ. Raises KeyError for a slot that is nowhere defined."""
        chosen = dict(words)

        def value(found: re.Match[str]) -> str:
            name = found[1]
            if name in self._ranges:
                low, high = self._ranges[name]
                return str(draw.randint(low, high))
            if name == "hex":  # a digit first, so that it is seen to be an id
                return f"{draw.randrange(10)}{draw.getrandbits(28):07x}"
            if name == "ip":  # RFC 5737: addresses for documentation
                return f"{draw.choice(('192.0.2', '198.51.100', '203.0.113'))}.{draw.randint(1, 254)}"
            if name not in chosen:
                chosen[name] = draw.choice(self._words[name])
            return chosen[name]

        return _SLOT.sub(value, template)

    def sentence(self, draw: Random, template: str, words: Mapping[str, str] = _NO_WORDS) -> str:
        """The same, beginning with a capital letter."""
        text = self.fill(draw, template, words)
        return text[:1].upper() + text[1:]
