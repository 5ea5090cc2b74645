"""What the bench of scoring scores: public sets of mixed lengths, or a file of the user's.

Every text comes once, also when white space is made even: a score that is found again would flatter.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import msgspec

from pipeline.errors import SourceError, UsageError
from pipeline.scoring.template import scored_texts

#: Where the public sets lie, beside the project.
PUBLIC = Path("../shared/data")

_NEEDED = "news/sentfin, news/crisislex, health/who_don_1996_2015.csv.gz and logs/loghub"


def mixed_texts(folder: Path, count: int, seed: int) -> list[str]:
    """`count` texts, as many of each set as it has: finance headlines, tweets in disasters, outbreak reports (long),
    log lines; in an order that `seed` decides. Raises UsageError when the folder does not hold the sets."""
    from model.data import public_sets

    _check(folder)
    sets = {
        "sentfin": [one.text for one in public_sets.sentfin(folder)],
        "t6": [one.text for one in public_sets.crisislex_t6(folder)],
        "t26": [one.text for one in public_sets.crisislex_t26(folder)],
        "who": [one.text for one in public_sets.who_don(folder)],
        "loghub": log_lines(folder),
    }
    return even_shares(apart(sets), count, seed)


def log_lines(folder: Path) -> list[str]:
    """The lines of loghub's systems, one of each in turn, as from systems that write at the same time; those of a
    system in order. Raises UsageError when the folder does not hold them."""
    _check(folder)
    systems = [
        path.read_text(encoding="utf-8", errors="replace").splitlines()
        for path in sorted((folder / "logs/loghub").glob("*_2k.log"))
    ]
    return [line for turn in zip_longest(*systems, fillvalue="") for line in turn if line.strip()]


def texts_of(path: Path) -> list[str]:
    """The texts of a file of JSON lines, `{"text": ...}`. Raises SourceError that names the line."""
    texts = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                texts.append(msgspec.json.decode(line, type=_Line).text)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise SourceError(f'{path}, line {number}: {error}; a line is {{"text": "..."}}') from error
    if not any(map(str.strip, texts)):
        raise SourceError(f'{path} holds no texts; a line is {{"text": "..."}}')
    return texts


def apart(sets: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """The sets without the texts that came before, in their own set or another; those that are scored as one text of
    prose are the same, and blank ones are left out."""
    seen = {""}
    kept: dict[str, list[str]] = {}
    for name, texts in sets.items():
        found = list(texts)
        kept[name] = []
        for scored, text in zip(scored_texts("news", found), found, strict=True):
            if scored.strip() not in seen:
                seen.add(scored.strip())
                kept[name].append(text)
    return kept


def even_shares(sets: Mapping[str, Sequence[str]], count: int, seed: int) -> list[str]:
    """`count` texts, the same number of each set; what a small set lacks, the larger ones give. Shuffled by `seed`."""
    draw = random.Random(seed)
    chosen: list[str] = []
    by_size = sorted(sets, key=lambda name: (len(sets[name]), name))
    for place, name in enumerate(by_size):
        share = (count - len(chosen)) // (len(by_size) - place)
        chosen += draw.sample(list(sets[name]), min(share, len(sets[name])))
    draw.shuffle(chosen)
    return chosen


def sample_like(texts: Sequence[str], count: int) -> list[str]:
    """`count` of the texts with the lengths of all of them: one of each of `count` equal parts by length, in the order
    in which they stand."""
    count = min(count, len(texts))
    by_length = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
    chosen = [by_length[(2 * part + 1) * len(texts) // (2 * count)] for part in range(count)]
    return [texts[i] for i in sorted(chosen)]


class _Line(msgspec.Struct):
    text: str


def _check(folder: Path) -> None:
    if not (folder / "logs/loghub").is_dir() or not (folder / "news/sentfin").is_dir():
        raise UsageError(
            f"the public texts are not in {folder} (wanted: {_NEEDED}); score texts of your own: "
            '--texts FILE, JSON lines of {"text": "..."}'
        )
