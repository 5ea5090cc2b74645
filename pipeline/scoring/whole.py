"""Texts that UTF-8 can hold: what is tokenized, and what is given out."""

from __future__ import annotations


def whole(text: str) -> str:
    """The text with a question mark for each lone surrogate, the half of a pair that a broken emoji leaves."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")
