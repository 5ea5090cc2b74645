"""Log lines as training data: alert labels where a set has them, severity words elsewhere.

Nine of ten log lines repeat once numbers are masked, so a template counts once, and a split never cuts one: what is
tested on is by system, and what stops a training by template. BlueGene/L's first day is cut by time, and there most
lines that are fine have a template that came before; the alert that opens its bursts is in no training.
"""

from __future__ import annotations

import csv
import gzip
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from model.data.example import Example, files

_MASKS = (
    re.compile(r"\b[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"),
    re.compile(r"\b\d{1,3}(\.\d{1,3}){3}(:\d+)?\b"),
    re.compile(r"\b0x[0-9a-fA-F]+\b"),
    re.compile(r"(?<![\w/])/[\w.+-]+(/[\w.+-]*)+"),
    re.compile(r"\b[0-9a-fA-F]*\d[0-9a-fA-F]*[a-fA-F][0-9a-fA-F]{4,}\b"),
    re.compile(r"(?<![A-Za-z])[-+]?\d[\d.,:/_-]*"),
)


def template(line: str) -> str:
    """The line with ids, addresses, paths and numbers as `<*>`."""
    for mask in _MASKS:
        line = mask.sub("<*>", line)
    return line


#: What stands before the message in each loghub system, up to and without the severity.
_HEADER = re.compile(
    r"^(?:- |[A-Z_]+ (?=\d{10} ))?(?:\d{10} \d{4}\.\d\d\.\d\d \S+ (?:\d{4}-\S+ \S+ |\w{3} +\d+ \S+ \S+ )"
    r"|\S+\.log\S* [\d-]+ [\d:.]+ \d+ |\[\w{3} \w{3} \d+ [\d:]+ \d{4}\] |\w{3} +\d+ [\d:]+ \S+ "
    r"|\d{6} \d{6} \d+ |\d\d/\d\d/\d\d [\d:]+ |\d\d-\d\d [\d:.]+ +\d+ +\d+ |[\d-]+ [\d:,]+,?(?: - )? *|\d+ \S+ )"
)


def message(line: str) -> str:
    """The line without its time and host."""
    return _HEADER.sub("", line, count=1)


_SEVERE = re.compile(r"\b(ERROR|FATAL|SEVERE|CRITICAL|EMERG|ALERT|PANIC|FAILURE)\b|\[(error|crit|alert|emerg)\]| E ")
_CALM = re.compile(r"\b(INFO|Info|DEBUG|NOTICE|TRACE)\b|\[(notice|info|debug)\]| [DVI] ")
_TROUBLE = re.compile(
    r"fail|error|exception|denied|refus|time[d ]?-?out|unreach|panic|corrupt|abort|crash|break-in|fatal|"
    r"not.respond|critical|blocked|halt|unavailable|no space|invalid user|kill|broken|unable|cannot|can't|could not|"
    r"lost|severed|"
    r"reset by peer|illegal|bad |forbid|deny|drop|warning|no free|not answer|interrupt|not found|missing|retry|"
    r"no longer served|no server|not served|shut ?down|disabled|terminated abnormal|invalid",
    re.IGNORECASE,
)
_STRONG = re.compile(
    r"failed|failure|exception|refused|timed out|unreachable|panic|corrupt|crash|break-in|not.responding|"
    r"unavailable|no space|connection broken|no longer served|cannot open|unable to|reset by peer",
    re.IGNORECASE,
)
_RECOVERY = re.compile(r"corrected|recover|succe|\bresolved|restored|re-?establish|\bnormal|retr[yi]", re.IGNORECASE)


def loghub(folder: Path) -> Iterator[Example]:
    """Lines of 14 systems (Zhu et al. 2023): severity and words of trouble must agree, else the line is left out.

    BlueGene/L and Thunderbird carry alert labels; the alert that opens the bursts of the first BlueGene/L day is
    left out here, so that it stays unseen.
    """
    for path in files(folder / "logs/loghub", "*_2k.log"):
        system = path.name.removesuffix("_2k.log")
        seen: set[str] = set()
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("APPREAD"):
                continue
            target = _target(system, line)
            masked = template(message(line))
            if target is None or masked in seen:
                continue
            seen.add(masked)
            full = line.split(" ", 1)[1] if system in ("BGL", "Thunderbird") else line
            for text in dict.fromkeys((full, template(full), message(line), masked)):
                yield Example(text, target, "logs", system, origin=masked)


def _target(system: str, line: str) -> float | None:
    labelled = system in ("BGL", "Thunderbird")
    if labelled and not line.startswith("- "):
        return 0.97
    if _RECOVERY.search(line):
        return None if _SEVERE.search(line) or _STRONG.search(line) else 0.03
    if _TROUBLE.search(line):
        if labelled:
            return None
        if _SEVERE.search(line):
            return 0.95
        return 0.9 if _STRONG.search(line) and not _CALM.search(line) else None
    if _CALM.search(line) or labelled or system in ("Linux", "OpenSSH", "Mac", "HPC"):
        return 0.03
    return None


def bgl_first_day(folder: Path, *, until: str = "9999") -> list[tuple[str, str, int]]:
    """(time, template, bad) of every line of BlueGene/L's first day before `until`, in order of time."""
    with gzip.open(folder / "logs/bgl_first_day.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = [(row["ts"], row["EventTemplate"], int(row["bad"])) for row in csv.DictReader(file)]
    return sorted(row for row in rows if row[0] < until)


def bgl_templates(folder: Path, *, until: str) -> Iterator[Example]:
    """The templates seen before `until`, weighing more the more often they came.

    Those that carry no alert but speak of failure are left out.
    """
    counts = Counter((text, bad) for _, text, bad in bgl_first_day(folder, until=until))
    for (text, bad), count in counts.items():
        if bad or not re.search(r"error loading|failed", text, re.IGNORECASE):
            target = 0.97 if bad else 0.03
            yield Example(text, target, "logs", "BGL", weight=1 + math.log2(count), origin=template(text))
