"""A labelled text, its copies, and the part of a split that it belongs to."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "tune", "test"]


@dataclass(frozen=True, slots=True)
class Example:
    """One text. `target` is the probability that it is bad; `group` is what a split must not cut apart;
    `weight` is relative to others of its source; `origin` is what this is one form of, where there are several."""

    text: str
    target: float
    source: str
    group: str
    weight: float = 1.0
    origin: str = ""


def normalised(text: str) -> str:
    """What two copies of a text share: words in lower case, without links, names of accounts and digits."""
    text = re.sub(r"https?://\S+|^rt\b|@\w+", " ", text.lower())
    return " ".join(re.findall(r"[^\W\d_]+", text))


def distinct(examples: Iterable[Example]) -> list[Example]:
    """The first example of each normalised text, so that no copy crosses from training to test."""
    seen: dict[str, Example] = {}
    for example in examples:
        seen.setdefault(normalised(example.text) or example.text, example)
    return list(seen.values())


def split_by_hash(key: str, *, tune: float = 0.1, test: float = 0.15) -> Split:
    """A stable part for a key, the same on every machine and for every order of the data."""
    place = int.from_bytes(hashlib.sha256(key.encode("utf-8", "replace")).digest()[:8], "big") / 2**64
    if place < test:
        return "test"
    return "tune" if place < test + tune else "train"


def files(folder: Path, pattern: str) -> list[Path]:
    """The files of a set, in order of their names. Raises FileNotFoundError when there is none."""
    found = sorted(folder.glob(pattern))
    if not found:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder / pattern))
    return found
