"""Augmentation: the same news in other words, so that a classifier does not learn names and numbers by heart.

Masking hides what a text is about and leaves what is said of it; word dropout makes it lean on more than one word; the
back-off of a template hides the names of a program's parts, which another program does not have.
"""

from __future__ import annotations

import re

import numpy as np

_NUMBER = re.compile(r"\d[\d.,:/-]*")
_NAME = re.compile(r"(?<!^)(?<![.!?] )\b[A-Z][\w&'-]+(?: [A-Z][\w&'-]+)*")
_WORD = re.compile(r"\S+")
#: Of a line that is masked as a template: what a program calls its parts (`dfs.DataNode`, `blockMap`, `ib_sm.x`).
_MASK = "<*>"
_PART = re.compile(r"\b(?=\w*[a-z])\w+(?:[._/$]\w+)+|\b[A-Za-z]*[a-z][A-Z]\w*")

#: What negates or turns a text: never left out.
_KEPT = frozenset(
    ("no", "not", "never", "without", "nor", "lifted", "over", "ended", "end", "resolved", "restored", "recovered")
)

#: How often each is done to a text, and which share of its words is left out.
NUMBERS, NAMES, DROPOUT, DROPPED, TEMPLATES = 0.3, 0.2, 0.3, 0.1, 0.3


def augmented(text: str, draw: np.random.Generator) -> str:
    """The text, perhaps with numbers, names or parts of programs masked, perhaps with a few words left out; not empty
    when it was not."""
    numbers, names, dropout, templates = draw.random(4)
    if numbers < NUMBERS:
        text = _NUMBER.sub(lambda found: str(draw.integers(1, 10 ** min(6, len(found[0])))), text)
    if names < NAMES and not text.isupper() and not text.istitle():
        text = _NAME.sub("Name", text)
    if templates < TEMPLATES and _MASK in text:
        text = _PART.sub(_MASK, text)
    if dropout < DROPOUT:
        words = _WORD.findall(text)
        kept = [word for word in words if draw.random() >= DROPPED or word.lower().strip(".,;:!") in _KEPT]
        text = " ".join(kept or words)
    return text
