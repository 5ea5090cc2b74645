"""Sentences of this project: bad news, and the good or ordinary news that looks like it.

They teach what no public set here does: that an outbreak declared over, a link restored or a warning lifted is
not bad. See `contrast.toml`.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from model.data import Example

_FILE = Path(__file__).with_name("contrast.toml")
_SLOT = re.compile(r"\{(\w+)\}")


def contrast(copies: int = 4) -> Iterator[Example]:
    """Every sentence `copies` times with its slots filled differently (once if it has none).

    The group is the sentence itself, so that a split holds out whole sentences, never fillings of one.
    """
    domains = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    slots: dict[str, list[str]] = domains.pop("slots")
    for domain, sentences in domains.items():
        for kind, target in (("bad", 0.98), ("fine", 0.02)):
            for sentence in sentences[kind]:
                for copy in range(copies if _SLOT.search(sentence) else 1):
                    yield Example(_filled(sentence, slots, copy), target, f"contrast:{domain}", sentence)


def _filled(sentence: str, slots: dict[str, list[str]], copy: int) -> str:
    def fill(slot: re.Match[str]) -> str:
        choices = slots[slot[1]]
        digest = hashlib.sha256(f"{sentence}|{slot[1]}|{copy}".encode()).digest()
        return choices[(digest[0] + copy) % len(choices)]

    return _SLOT.sub(fill, sentence)
