"""Kinds: log lines are told from prose by their form."""

from __future__ import annotations

import csv
import gzip
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.scoring.kind import KINDS, kind_of

DATA = Path(__file__).parents[4] / "shared/data"

LOGS = [
    "2024-05-06T10:00:00Z web1 nginx: upstream timed out",
    "May  6 10:00:00 web1 sshd[4711]: Failed password for root from 192.0.2.7 port 22 ssh2",
    "[Mon May 06 10:00:00 2024] [error] child died",
    "<34>1 2024-05-06T10:00:00Z web1 su - ID47 - 'su root' failed",
    '192.0.2.7 - - [06/May/2024:10:00:00 +0000] "GET /cart HTTP/1.1" 500 12',
    "20240506-10:00:00:606|Steps|30002312|onStandStepChanged 3579",
    "[05.06 10:00:00] browser.exe - proxy.example.org:5070 open through proxy",
    "I0506 10:00:00.000000 1 main.go:3] ready",
    "ERROR disk failure on node 7, data lost",
    'time=2024-05-06 level=error msg="connection refused"',
    '{"level":"error","msg":"connection refused"}',
    "E/ActivityThread( 2021): service leaked",
    "java.lang.IllegalStateException: closed\n\tat org.example.Pool.take(Pool.java:31)",
    'Traceback (most recent call last):\n  File "/srv/app.py", line 3, in <module>',
    "connection from 192.0.2.7:4711 closed, uid=0",
    "<*> floating point alignment exceptions",
]
PROSE = [
    "Shares plunge 12% after profit warning",
    "ALERT: flood warning for the valley, seek higher ground http://t.co/abc #flood",
    "RT @someone: 12:30 update - roads closed, 3 dead",
    "WARNING: graphic pictures",
    "On 6 May 2024 the Ministry of Health reported 14 cases (CFR=21%)",
    "Bank sees Q3 net at 1.2.3 crore; target price Rs 450",
    "ERRATIC weather ahead",
    "I said: never again",
    "",
    "   ",
    "😀😀",
    "\ud800",
]


@pytest.mark.parametrize("text", LOGS)
def test_a_log_line_is_one(text: str) -> None:
    assert kind_of(text) == "logs"


@pytest.mark.parametrize("text", PROSE)
def test_prose_is_none(text: str) -> None:
    assert kind_of(text) == "news"


@given(st.text(st.sampled_from('aE1 [](){}=:./-_<*>\\"\n\ud800é')))
def test_every_text_has_a_kind_that_its_beginning_decides(text: str) -> None:
    assert kind_of(text) in KINDS
    head = text.ljust(600, "x")
    assert kind_of(head) == kind_of(head + " ERROR 192.0.2.7 uid=0")


@pytest.mark.parametrize(
    "unit", ["a", "1", " ", "\n", "a_", "a.a", "a=", "/a", "[a", "a[1", "00:", "1.1", "-a:", '"GET /', "at a", "{", "<"]
)
def test_hostile_text_costs_little(unit: str) -> None:
    text = unit * 100_000
    began = time.process_time()
    for _ in range(100):
        kind_of(text)
    assert time.process_time() - began < 1


def _loghub() -> Iterator[str]:
    for path in (DATA / "logs/loghub").glob("*_2k.log"):
        yield from filter(None, path.read_text(encoding="utf-8", errors="replace").splitlines())


def _prose() -> Iterator[str]:
    with (DATA / "news/sentfin/SEntFiN.csv").open(encoding="utf-8", newline="") as file:
        yield from (row["Title"] for row in csv.DictReader(file))
    with gzip.open(DATA / "news/worldnews_2008_2011.csv.gz", "rt", encoding="utf-8", newline="") as file:
        yield from (row["News"] for row in csv.DictReader(file))
    with gzip.open(DATA / "health/who_don_1996_2015.csv.gz", "rt", encoding="utf-8", newline="") as file:
        yield from (row["Description"] for row in csv.DictReader(file))


@pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the public sets in {DATA}")
@pytest.mark.parametrize(("texts", "kind"), [(_loghub, "logs"), (_prose, "news")])
def test_of_real_texts_999_in_1000_are_right(texts: object, kind: str) -> None:
    assert callable(texts)
    found = [kind_of(text) == kind for text in texts()]
    assert len(found) > 20_000
    assert sum(found) / len(found) > 0.999
