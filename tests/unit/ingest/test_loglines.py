"""Log lines taken apart."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ingest.loglines import LogLine, parse_line
from pipeline.instants import from_datetime, to_iso

RECEIVED = from_datetime(datetime(2024, 6, 14, 21, 20, tzinfo=UTC))
LOGHUB = Path(__file__).parents[4] / "shared" / "data" / "logs" / "loghub"
SYSTEMS = (
    *("Android", "Apache", "BGL", "HDFS", "HPC", "Hadoop", "Linux"),
    *("Mac", "OpenSSH", "OpenStack", "Spark", "Thunderbird", "Windows", "Zookeeper"),
)


def read(line: str) -> LogLine:
    return parse_line(line, received_us=RECEIVED, zone=None)


def parts(line: str) -> tuple[str | None, str, str, str]:
    found = read(line)
    return (None if found.time_us is None else to_iso(found.time_us), *found[1:])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            '<165>1 2003-10-11T22:14:15.003Z host.example app - ID47 [x@1 iut="3" e="a\\"]b"][y@1 z="2"] \ufeffIt said',
            ("2003-10-11T22:14:15.003000Z", "host.example", "app", "It said"),
        ),
        ("<34>1 2003-10-11T22:14:15Z - - - - -", ("2003-10-11T22:14:15Z", "", "", "")),
        ("<34>1 - host app - - - It said", (None, "host", "app", "It said")),
        ("<34>Jun 11 22:14:15 host su[12]: It said", ("2024-06-11T22:14:15Z", "host", "su", "It said")),
        (
            "Jun 14 15:16:01 combo sshd(pam_unix)[19939]: authentication failure\r\n",
            ("2024-06-14T15:16:01Z", "combo", "sshd(pam_unix)", "authentication failure"),
        ),
        ("Jun 14 15:16:01 combo last message repeated", ("2024-06-14T15:16:01Z", "combo", "", "last message repeated")),
        ("\0\0\0Jun 14 15:16:01 h p: after a crash", ("2024-06-14T15:16:01Z", "h", "p", "after a crash")),
        (
            "2020-01-01T00:00:00.123+02:00 host sshd[12]: It said",
            ("2019-12-31T22:00:00.123000Z", "host", "sshd", "It said"),
        ),
        ("2020-01-01T00:00:00Z INFO app: started", ("2020-01-01T00:00:00Z", "", "", "INFO app: started")),
        ("2020-01-01T00:00:00Z plain words", ("2020-01-01T00:00:00Z", "", "", "plain words")),
        ("2020-01-01 10:00 plain words", ("2020-01-01T10:00:00Z", "", "", "plain words")),
        ("[2020-01-01T00:00:00.5+0000][info][gc] Pause", ("2020-01-01T00:00:00.500000Z", "", "", "[info][gc] Pause")),
        ("2020/01/01 10:00:00 [error] 1#0: open()", ("2020-01-01T10:00:00Z", "", "", "[error] 1#0: open()")),
        ("2015-07-29 17:41:44,747 - WARN  [Q] - gone", ("2015-07-29T17:41:44.747000Z", "", "", "WARN  [Q] - gone")),
        ("[Sun Dec 04 04:47:44 2005] [error] state 6", ("2005-12-04T04:47:44Z", "", "", "[error] state 6")),
        ("17/06/09 20:10:40 INFO a.B: c", ("2017-06-09T20:10:40Z", "", "", "INFO a.B: c")),
        ("081109 203615 148 INFO a.B: c", ("2008-11-09T20:36:15Z", "", "", "148 INFO a.B: c")),
        ("03-17 16:13:38.811  1702 D Tag: c", ("2024-03-17T16:13:38.811000Z", "", "", "1702 D Tag: c")),
        ("1718400000.5 it said", ("2024-06-14T21:20:00.500000Z", "", "", "it said")),
        ("web-1  | 2020-01-01T00:00:00Z it said", ("2020-01-01T00:00:00Z", "", "", "it said")),
        (
            "app.log.1 2017-05-16 00:00:00.008 25746 INFO it said",
            ("2017-05-16T00:00:00.008000Z", "", "", "25746 INFO it said"),
        ),
        (
            "KERNDTLB 1118541965 2005.06.11 R30-M0 2005-06-11-19.06.05.431824 R30-M0 RAS KERNEL FATAL data",
            ("2005-06-12T02:06:05Z", "R30-M0", "", "RAS KERNEL FATAL data"),
        ),
        (
            "- 1131566461 2005.11.09 dn228 Nov 9 12:01:01 dn228/dn228 crond[29]: session closed",
            ("2005-11-09T20:01:01Z", "dn228", "crond", "session closed"),
        ),
        (
            "46105 full partition status 1126164412 -1 running",
            ("2005-09-08T07:26:52Z", "full", "", "partition status running"),
        ),
        (
            '127.0.0.1 - - [04/Dec/2005:04:47:44 +0000] "GET / HTTP/1.0" 500 1',
            ("2005-12-04T04:47:44Z", "", "", '127.0.0.1 - - "GET / HTTP/1.0" 500 1'),
        ),
        ('time="2020-01-01T00:00:00Z" level=error msg="x"', ("2020-01-01T00:00:00Z", "", "", 'level=error msg="x"')),
    ],
)
def test_a_line_is_taken_apart(line: str, expected: tuple[str | None, str, str, str]) -> None:
    assert parts(line) == expected


@pytest.mark.parametrize(
    "line", ["", "no time here", "    at java.lang.Thread.run", "2020-99-99 00:00:00 x", "9999-01-01T00:00:00Z x"]
)
def test_a_line_without_a_time_keeps_its_text(line: str) -> None:
    assert read(line) == LogLine(None, "", "", line.strip())


@pytest.mark.skipif(not LOGHUB.is_dir(), reason="the loghub lines are not on this machine (../shared/data)")
@pytest.mark.parametrize("system", SYSTEMS)
def test_real_lines_get_their_time(system: str) -> None:
    lines = (LOGHUB / f"{system}_2k.log").read_text("utf-8", "surrogateescape").splitlines()
    found = [read(line) for line in lines if line.strip()]
    assert sum(line.time_us is not None for line in found) >= 0.99 * len(found)
    assert all(line.text for line in found)


@given(st.one_of(st.text(), st.text(alphabet='<>[]()0123456789-:. TJunDec"\\=|/', max_size=200)))
@settings(max_examples=500)
def test_no_line_raises(line: str) -> None:
    found = read(line)
    assert found.text in line.strip("\0\r\n\t ") or found.time_us is not None


@pytest.mark.parametrize(
    "line",
    [
        "<1>1 a b c d e " + '[a="' * 300,
        "<1>1 a b c d e " + '["\\' * 400,
        "time=" * 10**5,
        "a " * 10**5,
        "[" * 10**5,
        "1" * 10**5,
    ],
)
def test_a_hostile_line_costs_no_more_than_a_long_one(line: str) -> None:
    for _ in range(200):  # seconds, if any pattern backtracked
        assert read(line).time_us is None
