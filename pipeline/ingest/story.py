"""Stories: copies of one text, told apart from other texts.

A syndicated article appears under many sources with other punctuation, case and spacing. The story of a text is
a hash of what is left without them, a function of the text alone, so that replay and live agree.
"""

from __future__ import annotations

import re

import xxhash

_NOT_WORDS = re.compile(r"[\W_]+")


def story_of(text: str) -> int:
    """The story of a text: a positive 63-bit integer, the same for copies. 0 for a text without words."""
    words = _NOT_WORDS.sub(" ", text.lower()).strip()
    if not words:
        return 0
    return xxhash.xxh3_64_intdigest(words.encode("utf-8", "surrogatepass")) >> 1 or 1
