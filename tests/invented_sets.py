"""Public sets of invented texts, laid out as the real ones."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

#: Of each set about so many texts of either sort are trained on, and as many held out: every part has some of both.
MANY = 40

#: The alert that opens the bursts of BlueGene/L's first day, after midnight.
BURST = "failed to read message prefix"

_BAD = "losses mount as plant number {} burns and many are hurt"
_FINE = "library number {} opens with a happy concert"

_HELD_OUT_TWEETS = (
    "2012_Costa_Rica_earthquake",
    "2013_Glasgow_helicopter_crash",
    "2013_Manila_floods",
    "2013_Spain_train_crash",
)


def invent(data: Path) -> None:
    """Write them below `data`. No two texts are copies of each other, but for BlueGene/L's."""
    numbers = count()
    _write(data / "news/sentfin/SEntFiN.csv", "Title,Decisions", (
        f"\"{text}\",\"{{'X': '{said}'}}\""
        for said, sort in (("negative", _BAD), ("positive", _FINE))
        for text in _texts(sort, MANY, numbers)
    ))  # fmt: skip
    for event in ("2012_Sandy_Hurricane", "2013_Oklahoma_Tornado"):
        _write(data / f"news/crisislex/t6/{event}-ontopic_offtopic.csv", "tweet id, tweet, label", (
            f"1,{text},{label}"
            for label, sort in (("on-topic", _BAD), ("off-topic", _FINE))
            for text in _texts("storm: " + sort, MANY, numbers)
        ))  # fmt: skip
    for event, many in {"2012_Italy_earthquakes": MANY, **dict.fromkeys(_HELD_OUT_TWEETS, MANY // 4)}.items():
        head = "Tweet ID, Tweet Text, Information Source, Information Type, Informativeness"
        _write(data / f"news/crisislex/t26/{event}-tweets_labeled.csv", head, (
            f"1,{text},Media,{kind},{informative}"
            for kind, informative, sort in (
                ("Affected individuals", "Related and informative", _BAD),
                ("Not labeled", "Not related", _FINE),
            )
            for text in _texts("flood: " + sort, many, numbers)
        ))  # fmt: skip
    _write(data / "health/who_don_1996_2015.csv.gz", "Date,Description", (
        f"{year}-01-02,{text}"
        for year, many in {2012: MANY, 2013: 14, 2014: 14, 2015: 14}.items()
        for text in _texts("Cholera report {}: new cases and deaths were reported in the district.", many, numbers)
    ))  # fmt: skip
    for system, many in {"Linux": MANY, "HPC": MANY // 2, "Zookeeper": MANY // 2}.items():
        _write(data / f"logs/loghub/{system}_2k.log", "", (
            line
            for said in ("ERROR failed disk {} on the node", "INFO session {} opened on the node")
            for line in _texts(said, many, numbers)
        ))  # fmt: skip
    _bluegene(data)


def _bluegene(data: Path) -> None:
    _write(data / "logs/loghub/BGL_2k.log", "", (
        "- 1 RAS KERNEL INFO a midplane is ready",
        f"APPREAD 1 RAS APP FATAL a node {BURST}",
    ))  # fmt: skip
    day = {
        "2005-06-03 23:59": ((1, "machine check interrupt"), (0, "ciod started")),
        "2005-06-04 00:00": ((1, "machine check interrupt"), (0, "ciod started"), (1, f"a node {BURST}")),
    }
    _write(data / "logs/bgl_first_day.csv.gz", "ts,label,bad,event_id,EventTemplate", (
        f"{minute}:{second:02},-,{bad},E1,{text}"
        for minute, said in day.items()
        for second in range(20)
        for bad, text in said
    ))  # fmt: skip


def _texts(said: str, many: int, numbers: Iterator[int]) -> list[str]:
    """Numbers are in letters: copies are found without digits."""
    return [said.format("".join(chr(ord("a") + int(digit)) for digit in f"{next(numbers):03}")) for _ in range(many)]


def _write(path: Path, head: str, rows: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{row}\n" for row in (*filter(None, [head]), *rows)).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
