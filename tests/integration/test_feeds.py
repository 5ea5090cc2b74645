"""Feeds: what they say, how they are asked, and what a hostile one can do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_journal import MemoryJournal
from structlog.testing import capture_logs

from pipeline.errors import JournalFull, SourceError
from pipeline.instants import DAY_US, HOUR_US, MINUTE_US, from_datetime
from pipeline.sources.feed import FIRST_RETRY_US, REMEMBERED, FeedPoll
from pipeline.sources.feed_entries import entries_of
from pipeline.sources.feed_http import Fetched
from pipeline.streams import SourceDefinition

NOW = from_datetime(datetime(2024, 6, 14, 12, 0, tzinfo=UTC))
SOURCE = SourceDefinition(name="wire", kind="feed", url="http://example.org/feed", every_us=5 * MINUTE_US)


def rss(*entries: str) -> bytes:
    items = "".join(f"<item>{entry}</item>" for entry in entries)
    return f'<?xml version="1.0"?><rss version="2.0"><channel><title>T</title>{items}</channel></rss>'.encode()


def entry(number: int) -> str:
    return f"<guid>{number}</guid><title>News {number}</title>"


class Wire:
    """A feed whose next answers are set by the test."""

    def __init__(self) -> None:
        self.answers: list[Fetched | SourceError] = []
        self.asked: list[tuple[str, str]] = []
        self.journal = MemoryJournal()
        self.restart()

    def restart(self) -> None:
        self.poll = FeedPoll(SOURCE, self.journal, self._fetch, draw=lambda: 1.0)

    def _fetch(self, url: str, *, etag: str, modified: str) -> Fetched:
        assert url == SOURCE.url
        self.asked.append((etag, modified))
        answer = self.answers.pop(0)
        if isinstance(answer, SourceError):
            raise answer
        return answer

    def ask(self, answer: Fetched | SourceError | bytes) -> int:
        """One poll; how long the next one waits, in microseconds."""
        self.answers.append(Fetched(status=200, body=answer) if isinstance(answer, bytes) else answer)
        return self.poll.poll_once(NOW) - NOW

    @property
    def items(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(payload) for payload in self.journal.payloads]


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.mark.parametrize("name", ["title_detail", "summary_detail", "content", "source", "published_parsed"])
def test_an_element_named_like_a_part_of_the_parser_spoils_no_entry(wire: Wire, name: str) -> None:
    wire.ask(rss(f"<guid>1</guid><title>Flood</title><{name}>s</{name}>", entry(2)))
    assert {item["id"] for item in wire.items} == {"1", "2"}
    assert "News 2" in {item["text"] for item in wire.items}


def test_an_entry_becomes_an_item_under_the_id_it_brings(wire: Wire) -> None:
    document = rss(
        "<guid>urn:1</guid><link>https://example.org/1</link><title>Flood &amp; fire</title>"
        "<description>&lt;p&gt;Two &lt;b&gt;towns&lt;/b&gt; hit&lt;/p&gt;"
        "&lt;script&gt;evil()&lt;/script&gt;</description>"
        "<pubDate>Fri, 14 Jun 2024 10:00:00 +0200</pubDate><source url='https://r.example'>Reuters</source>"
    )
    assert wire.ask(document) == SOURCE.every_us
    assert wire.items == [
        {"id": "urn:1", "time": "2024-06-14T08:00:00Z", "text": "Flood & fire\nTwo towns hit", "source": "Reuters"}
    ]
    (record,) = wire.journal.records
    assert (record.form, record.source, record.ids, record.received_us) == ("row", "wire", ["urn:1"], NOW)
    assert wire.poll.at_end


def test_atom_is_read_as_well() -> None:
    document = (
        b'<feed xmlns="http://www.w3.org/2005/Atom"><entry><id>a</id><title type="html">A &amp;lt;b&amp;gt;</title>'
        b"<updated>2024-06-14T10:00:00Z</updated>"
        b"<content type='xhtml'><div>said <i>so</i></div></content></entry></feed>"
    )
    (found,) = entries_of(document)
    assert found.id == "a"
    assert found.time_us == from_datetime(datetime(2024, 6, 14, 10, tzinfo=UTC))
    assert found.text.split("\n")[-1] == "said so"


def test_an_entry_without_a_date_has_no_time_and_one_without_an_id_brings_none(wire: Wire) -> None:
    wire.ask(rss("<title>Only words</title>"))
    assert wire.items == [{"text": "Only words", "source": "wire"}]
    assert wire.journal.records[0].ids == [""]
    wire.ask(rss("<title>Only words</title>"))
    assert len(wire.items) == 1


def test_entries_come_oldest_first(wire: Wire) -> None:
    wire.ask(rss(*(f"{entry(day)}<pubDate>{day} Jun 2024 00:00:00 GMT</pubDate>" for day in (9, 7, 8)), entry(1)))
    assert [item["id"] for item in wire.items] == ["7", "8", "9", "1"]


def test_only_new_entries_are_appended_after_a_restart_too(wire: Wire) -> None:
    wire.ask(rss(entry(2), entry(1)))
    wire.ask(rss(entry(3), entry(2), entry(1)))
    wire.restart()
    wire.ask(rss(entry(4), entry(3), entry(2)))
    wire.ask(rss(entry(1)))
    assert [item["id"] for item in wire.items] == ["1", "2", "3", "4"]


def test_the_memory_for_entries_is_bounded(wire: Wire) -> None:
    for start in range(0, 5 * REMEMBERED, 500):
        wire.ask(rss(*map(entry, range(start, start + 500))))
    assert len(wire.items) == 5 * REMEMBERED
    assert len(wire.journal.marks["feed/seen"].split()) == REMEMBERED + 500


def test_a_full_disk_loses_no_entry(wire: Wire) -> None:
    wire.journal.fail_after = 0
    with pytest.raises(JournalFull):
        wire.ask(Fetched(status=200, body=rss(entry(1)), etag="e"))
    assert not wire.poll.at_end
    wire.ask(rss(entry(1)))
    assert [item["id"] for item in wire.items] == ["1"]
    assert wire.asked[-1] == ("", "")  # a 304 now would lose it


def test_what_did_not_change_is_not_sent_again(wire: Wire) -> None:
    wire.ask(Fetched(status=200, body=rss(entry(1)), etag='"e"', modified="Fri, 14 Jun 2024 10:00:00 GMT"))
    assert wire.ask(Fetched(status=304)) == SOURCE.every_us
    assert wire.asked[-1] == ('"e"', "Fri, 14 Jun 2024 10:00:00 GMT")
    assert wire.journal.appends == 1
    assert wire.poll.at_end


def test_failures_wait_longer_each_time_and_are_logged_once(wire: Wire) -> None:
    with capture_logs() as logs:
        waits = [wire.ask(SourceError("no answer")) for _ in range(9)]
        assert not wire.poll.at_end
        assert wire.ask(rss(entry(1))) == SOURCE.every_us
    assert waits[:3] == [FIRST_RETRY_US, 2 * FIRST_RETRY_US, 4 * FIRST_RETRY_US]
    assert waits[-1] == HOUR_US
    assert [line["event"] for line in logs] == ["feed_unreachable", "feed_reachable"]
    assert wire.ask(SourceError("no answer")) == FIRST_RETRY_US


@pytest.mark.parametrize(
    ("retry_after", "wait_us"),
    [
        ("7200", 2 * HOUR_US),
        ("Fri, 14 Jun 2024 14:00:00 GMT", 2 * HOUR_US),
        ("Fri, 14 Jun 2024 14:00:00 -0000", 2 * HOUR_US),
        ("9" * 50, DAY_US),
        ("1", FIRST_RETRY_US),
        ("soon", FIRST_RETRY_US),
        ("Fri, 99 Jun 2024", FIRST_RETRY_US),
        ("", FIRST_RETRY_US),
    ],
)
def test_a_429_waits_at_least_its_retry_after(wire: Wire, retry_after: str, wait_us: int) -> None:
    assert wire.ask(Fetched(status=429, retry_after=retry_after)) == wait_us


@pytest.mark.parametrize("document", [b"", b"<html><body>Login</body></html>", b"\0" * 1000, b"{}", b"<" * 1000])
def test_what_is_no_feed_is_a_failure(wire: Wire, document: bytes) -> None:
    assert wire.ask(document) == FIRST_RETRY_US
    assert wire.items == []


def test_an_empty_feed_is_no_failure(wire: Wire) -> None:
    assert wire.ask(rss()) == SOURCE.every_us


def test_entities_and_external_files_are_not_expanded() -> None:
    bomb = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 9))
    for doctype in (
        f'<!DOCTYPE r [<!ENTITY e0 "boom">{bomb}]>',
        '<!DOCTYPE r [<!ENTITY e8 SYSTEM "file:///etc/passwd">]>',
    ):
        document = rss("<title>&e8;</title>").decode().replace("?>", f"?>{doctype}", 1)
        (found,) = entries_of(document.encode())
        assert len(found.text) < 100
        assert "root:" not in found.text


def test_hostile_entries_cost_little_and_stay_small() -> None:
    nasty = ["&lt;a " * 10_000, "&lt;!--" * 10_000, "&lt;script&gt;" * 5000, "&lt;/script " * 5000, "x" * 10**6]
    entries = entries_of(rss(*(f"<guid>{'g' * 10**5}</guid><description>{text}</description>" for text in nasty)))
    assert len(entries) == 5
    assert all(len(found.id) <= 200 and len(found.text) <= 40_000 for found in entries)
    assert len({found.id for found in entries}) == 1


@given(
    st.one_of(
        st.binary(max_size=200), st.text(alphabet="<>&;!-[]/= \"'abitemrssentrytitle", max_size=200).map(str.encode)
    )
)
@settings(max_examples=150)
def test_any_bytes_are_entries_or_a_source_error(document: bytes) -> None:
    for body in (document, rss(document.decode("utf-8", "replace"))):
        try:
            for found in entries_of(body):
                found.text.encode()
        except SourceError:
            pass
