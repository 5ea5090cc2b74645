"""Prose of the public sets, with the labels that this project gives it.

Nothing is copied into the repository: every loader reads a folder laid out as `news/sentfin`, `news/crisislex`,
`health` and `logs`. `bad` asks whether a text is bad news for the thing it is about; where a set asks something
else (on topic, informative), the target is softer or the row is left out.
"""

from __future__ import annotations

import ast
import csv
import gzip
import re
from collections.abc import Iterator
from pathlib import Path

from model.data.example import Example, files, normalised

_PAIR = re.compile(r"""['"](.+?)['"]\s*:\s*['"](positive|negative|neutral)['"]""")


def decisions(written: str) -> dict[str, str]:
    """SEntFiN's `{entity: sentiment}`; 13 rows hold an apostrophe that no Python literal may hold."""
    try:
        return {str(k): str(v) for k, v in ast.literal_eval(written).items()}
    except (ValueError, SyntaxError):
        return dict(_PAIR.findall(written))


def sentfin(folder: Path) -> Iterator[Example]:
    """Finance headlines (SEntFiN 1.0): bad when some entity is hurt and none gains; mixed ones are left out."""
    with (folder / "news/sentfin/SEntFiN.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found = set(decisions(row["Decisions"]).values())
            if found and not {"positive", "negative"} <= found:
                yield Example(row["Title"], float("negative" in found), "sentfin", normalised(row["Title"]))


def crisislex_t6(folder: Path) -> Iterator[Example]:
    """Tweets of four disasters: on topic is mostly, not always, bad news."""
    for path in files(folder / "news/crisislex/t6", "*.csv"):
        event = path.name.split("-")[0]
        for row in _rows(path):
            yield Example(row["tweet"], 0.9 if row["label"] == "on-topic" else 0.03, "t6", event)


#: What 'informative' tweets tell of, and how likely that is bad news. Left out: donations, and words of sympathy.
_T26 = {"Affected individuals": 0.95, "Infrastructure and utilities": 0.85, "Caution and advice": 0.8}


def crisislex_t26(folder: Path) -> Iterator[Example]:
    """Tweets of twenty disasters: an informative tweet is bad when it tells of harm, damage or danger."""
    for path in files(folder / "news/crisislex/t26", "*.csv"):
        event = path.name.split("-")[0]
        for row in _rows(path):
            informative = row["Informativeness"] == "Related and informative"
            if row["Informativeness"] == "Not related":
                yield Example(row["Tweet Text"], 0.03, "t26", event)
            elif informative and row["Information Type"] in _T26:
                yield Example(row["Tweet Text"], _T26[row["Information Type"]], "t26", event)


_OVER = re.compile(
    r"declared over|end of the (outbreak|epidemic)|(outbreak|epidemic) (is|has|was) (now )?(over|ended)"
    r"|no longer|free of|under control|has been lifted|removed from the list",
    re.IGNORECASE,
)
_DATELINE = re.compile(r"^\s*\d{1,2} \w+ \d{4}( Disease Outbreak Reported)?\s*")


def who_don(folder: Path) -> Iterator[Example]:
    """Outbreak reports of the WHO, opening and whole; those that may tell of an end are left out."""
    with gzip.open(folder / "health/who_don_1996_2015.csv.gz", "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            text = _DATELINE.sub("", row["Description"])
            if _OVER.search(text) or len(text) < 40:
                continue
            year = row["Date"][:4]
            opening = text[:300].rsplit(". ", 1)[0]
            for form in (opening, text[:2000]):
                yield Example(form, 0.97, "who", year, origin=text)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        reader = csv.reader(file, skipinitialspace=False)
        names = [name.strip() for name in next(reader)]
        for row in reader:
            yield dict(zip(names, (cell.strip() for cell in row), strict=False))
