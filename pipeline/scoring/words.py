"""Words: where they stand in a text. For explanations; the classifier has word pieces of its own."""

from __future__ import annotations

import re

# Scripts that set no blanks between words: each character is a word.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Else a word goes with what joins its parts ("don't", "U.S", "debt-laden", "3,000", "10:04"). What a template has
# masked is a word of its own.
_WORD = re.compile(rf"<\*>|[{_UNSPACED}]|[^\W{_UNSPACED}]+(?:(?:['’.&-]|(?<=\d)[,:](?=\d))[^\W{_UNSPACED}]+)*")


def places(text: str) -> list[tuple[int, int]]:
    """The place [start, end) of each word, in order."""
    return [match.span() for match in _WORD.finditer(text)]


def vocabulary(text: str) -> set[str]:
    """The distinct words of a text in lower case that hold a letter; neither numbers nor what is masked."""
    return {word for word in _WORD.findall(text.lower()) if any(map(str.isalpha, word))}
