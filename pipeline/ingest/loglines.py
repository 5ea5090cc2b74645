"""Plain log lines: when, where, which program, and what it said.

A line begins with its time in one of the usual ways, or carries it at a place that its format fixes. What is
not recognised stays in the text: nothing is thrown away but stamps, hosts and program names.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from zoneinfo import ZoneInfo

from pipeline.errors import BrokenItem
from pipeline.ingest.timestamps import parse_time


class LogLine(NamedTuple):
    """A line taken apart. `time_us` is None when it has no time that can be read; its text is then complete."""

    time_us: int | None
    host: str
    program: str
    text: str


_PRIORITY = re.compile(r"<\d{1,3}>", re.ASCII)
_HMS = r"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"

# RFC 5424 section 6: VERSION TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA [MSG]
_RFC_5424 = re.compile(
    r"\d{1,2} (?P<time>\S+) (?P<host>\S+) (?P<program>\S+) \S+ \S+ "
    r'(?:-|(?:\[(?:[^"\]]|"(?:[^"\\]|\\.)*+")*+\])++)(?: (?P<text>.*))?',
    re.ASCII | re.DOTALL,
)
# An alert label, the second since 1970, the date, the node, and the line as it was: BlueGene/L, Thunderbird.
_LABELLED = re.compile(
    r"\S{1,40} (?P<time>\d{10}) \d{4}\.\d\d\.\d\d (?P<host>\S+) "
    r"(?:\d{4}-\d\d-\d\d-\d\d\.\d\d\.\d\d\.\d+ \S+ |[A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d \S+ )?(?P<text>.*)",
    re.ASCII | re.DOTALL,
)
# A number, the node, its component and state, and the second since 1970 in the middle: the HPC set of loghub.
_EPOCH_IN_THE_MIDDLE = re.compile(
    r"\d{1,12} (?P<host>\S+) (?P<what>\S+ \S+) (?P<time>\d{9,10}) -?\d+ (?P<text>.*)", re.ASCII | re.DOTALL
)
_MONTH_FIRST = re.compile(
    rf"\[?(?P<time>(?:[A-Z][a-z]{{2}} )?[A-Z][a-z]{{2}} {{1,2}}\d{{1,2}} (?:\d{{4}} )?{_HMS}(?: \d{{4}})?)"
    r"(?P<close>\]?)[\s:]+",
    re.ASCII,
)
_NUMBERS_FIRST = re.compile(
    r"\[?(?P<time>"
    r"\d{4}[-/.]\d\d[-/.]\d\d(?:[T _]|-(?=\d\d\.))\d\d[:.]\d\d(?:[:.]\d\d(?:[.,]\d{1,9})?)?"
    r"(?: ?(?:Z|UTC|[+-]\d\d:?\d\d)(?![\w:.]))?"
    rf"|\d\d/\d\d/\d\d {_HMS}|\d{{6}} \d{{6}}(?=\s)|\d\d-\d\d {_HMS}|\d{{8}}T\d{{6}}(?:Z|[+-]\d{{4}})?"
    r"|\d{10}(?:\.\d{1,9})?(?=\s)|\d{13}(?=\s)"
    r")(?P<close>\]?)(?:[\s,:|]+|$|(?<=\])(?=\[))(?:- )?",
    re.ASCII,
)
# One word before the time: a file or container name.
_WORD_FIRST = re.compile(r"[^\s\[\]]{1,200}\s{1,8}(?:\|\s)?(?=\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)", re.ASCII)
_ACCESS_LOG = re.compile(r"\[(?P<time>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] ?", re.ASCII)
_FIELD = re.compile(r"\b(?:time|ts|timestamp)=(?P<quote>\"?)(?P<time>[0-9][0-9T:.,+Z -]{8,40}?)(?P=quote)(?:\s|$)")
_HOST = re.compile(r"(?P<host>[A-Za-z0-9][\w.:@/-]{0,254}) +(?=\S)", re.ASCII)
_PROGRAM = re.compile(r"(?P<program>[A-Za-z/][\w.@/ ()-]{0,80}?)(?:\[\d+\])?: ?", re.ASCII)
_LEVELS = frozenset(
    ("TRACE", "DEBUG", "INFO", "NOTICE", "WARN", "WARNING", "ERROR", "ERR", "CRITICAL", "CRIT", "FATAL", "SEVERE")
)


def parse_line(line: str, *, received_us: int, zone: ZoneInfo | None) -> LogLine:
    """Take a line apart. It reads RFC 5424, RFC 3164 (no year: see `parse_time`), times in ISO 8601, epoch
    seconds and the other shapes of `parse_time` at the start, access logs, and `time=` fields.

    Never raises: a line without a time that can be read is all text. Costs a few microseconds for any line:
    only its first kilobyte is searched.
    """
    text = line.strip("\0\r\n\t ")
    head = text[:1024]
    if not head:
        return LogLine(None, "", "", "")
    priority = _PRIORITY.match(head) if head[0] == "<" else None
    if priority:
        head, text = head[priority.end() :], text[priority.end() :]
        found = _RFC_5424.match(head)
        if found:
            return _syslog(found, text, received_us, zone)
    for shape, take in _WAYS:
        found = shape.match(head)
        if found and (taken := take(found, text, received_us, zone)):
            return taken
    found = _ACCESS_LOG.search(head) or _FIELD.search(head)
    if found and (time_us := _time(found["time"], received_us, zone)) is not None:
        return LogLine(time_us, "", "", (text[: found.start()] + text[found.end() :]).strip())
    return LogLine(None, "", "", text)


def _time(value: str, received_us: int, zone: ZoneInfo | None) -> int | None:
    try:
        return parse_time(value, received_us=received_us, zone=zone)
    except BrokenItem:
        return None


def _syslog(found: re.Match[str], text: str, received_us: int, zone: ZoneInfo | None) -> LogLine:
    time_us = _time(found["time"], received_us, zone)
    said = text[found.start("text") :] if found["text"] is not None else ""
    host, program = ("" if found[name] == "-" else found[name] for name in ("host", "program"))
    return LogLine(time_us, host, program, said.removeprefix("\ufeff"))


def _whole(found: re.Match[str], text: str, received_us: int, zone: ZoneInfo | None) -> LogLine | None:
    """Formats that name all their fields."""
    time_us = _time(found["time"], received_us, zone)
    if time_us is None:
        return None
    said = text[found.start("text") :]
    if "what" in found.groupdict():
        return LogLine(time_us, found["host"], "", f"{found['what']} {said}")
    program = _PROGRAM.match(said[:128])
    if program and " " not in program["program"]:
        return LogLine(time_us, found["host"], program["program"], said[program.end() :])
    return LogLine(time_us, found["host"], "", said)


def _month_first(found: re.Match[str], text: str, received_us: int, zone: ZoneInfo | None) -> LogLine | None:
    time_us = _time(found["time"], received_us, zone)
    if time_us is None:
        return None
    rest = text[found.end() :]
    return LogLine(time_us, "", "", rest) if found["close"] else _host_and_program(time_us, rest)


def _numbers_first(found: re.Match[str], text: str, received_us: int, zone: ZoneInfo | None) -> LogLine | None:
    time_us = _time(found["time"], received_us, zone)
    if time_us is None:
        return None
    rest = text[found.end() :]
    # Syslog daemons that write ISO 8601 write it with a T; others put a level where a host would be.
    if found["time"][10:11] == "T" and not found["close"] and rest.split(" ", 1)[0].upper() not in _LEVELS:
        named = _host_and_program(time_us, rest)
        if named.program:
            return named
    return LogLine(time_us, "", "", rest)


def _word_first(found: re.Match[str], text: str, received_us: int, zone: ZoneInfo | None) -> LogLine | None:
    rest = text[found.end() :]
    stamp = _NUMBERS_FIRST.match(rest[:128])
    return _numbers_first(stamp, rest, received_us, zone) if stamp else None


def _host_and_program(time_us: int, rest: str) -> LogLine:
    host = _HOST.match(rest[:256])
    if not host:
        return LogLine(time_us, "", "", rest)
    said = rest[host.end() :]
    program = _PROGRAM.match(said[:128])
    if not program:
        return LogLine(time_us, host["host"], "", said)
    return LogLine(time_us, host["host"], program["program"].strip(), said[program.end() :])


_WAYS = (
    (_NUMBERS_FIRST, _numbers_first),
    (_MONTH_FIRST, _month_first),
    (_LABELLED, _whole),
    (_EPOCH_IN_THE_MIDDLE, _whole),
    (_WORD_FIRST, _word_first),
)
