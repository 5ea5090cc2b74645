"""Feeds: what they say, how they are asked, and what a hostile one can do."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_journal import MemoryJournal
from structlog.testing import capture_logs

from pipeline.errors import JournalFull, SourceError
from pipeline.instants import DAY_US, HOUR_US, MINUTE_US, from_datetime
from pipeline.sources import feed_http
from pipeline.sources.feed import FIRST_RETRY_US, REMEMBERED, FeedPoll
from pipeline.sources.feed_entries import entries_of
from pipeline.sources.feed_http import MAX_FEED_BYTES, Fetched, http_fetch
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
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_entries_or_a_source_error(document: bytes) -> None:
    for body in (document, rss(document.decode("utf-8", "replace"))):
        try:
            for found in entries_of(body):
                found.text.encode()
        except SourceError:
            pass


class Server:
    """An HTTP server on this machine; `answer(handler)` writes the response."""

    def __init__(self) -> None:
        self.answer: Callable[[BaseHTTPRequestHandler], None]
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                try:
                    outer.answer(self)
                except OSError:
                    pass  # the client had enough

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def says(self, status: int, body: bytes = b"", **headers: str) -> None:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            handler.wfile.write(body)

        self.answer = answer


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


def fetch(url: str) -> Fetched:
    return http_fetch(url, etag='"e"', modified="yesterday")


def test_a_feed_is_fetched_with_what_is_known_of_it(server: Server) -> None:
    server.says(200, gzip.compress(rss(entry(1))), content_encoding="gzip", etag='"f"', last_modified="today")
    assert fetch(server.url) == Fetched(status=200, body=rss(entry(1)), etag='"f"', modified="today")
    assert server.headers[0]["if-none-match"] == '"e"'
    assert server.headers[0]["if-modified-since"] == "yesterday"
    server.says(304)
    assert fetch(server.url).status == 304
    server.says(429, b"x" * 100, retry_after="60")
    assert fetch(server.url) == Fetched(status=429, retry_after="60")


def test_redirects_on_the_same_host_are_followed(server: Server) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        moved = handler.path == "/old"
        handler.send_response(301 if moved else 200)
        if moved:
            handler.send_header("Location", "/new?x=1")
        handler.end_headers()
        handler.wfile.write(b"" if moved else handler.path.encode())

    server.answer = answer
    assert fetch(f"{server.url}/old").body == b"/new?x=1"


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://example.org/",
        "http://localhost:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://2130706433:{port}/",
        "//0/",
    ],
)
def test_a_redirect_reaches_nothing_inside(server: Server, location: str) -> None:
    server.says(302, location=location.format(port=server.url.rpartition(":")[2]))
    with pytest.raises(SourceError):
        fetch(server.url)
    assert len(server.headers) == 1


def test_a_redirect_loop_ends(server: Server) -> None:
    server.says(302, location="/")
    with pytest.raises(SourceError, match="redirects more than 5"):
        fetch(server.url)


@pytest.mark.parametrize(
    ("body", "encoding", "says"),
    [
        (b"x" * (MAX_FEED_BYTES + 1), "identity", "more than"),
        (gzip.compress(b"x" * 10 * MAX_FEED_BYTES, mtime=0), "gzip", "more than"),
        (gzip.compress(b"x" * 1000, mtime=0)[:-9], "gzip", "cut off"),
        (b"x" * 100, "gzip", "damaged"),
        (b"x" * 100, "br", "not asked for"),
    ],
)
def test_a_body_that_is_too_large_or_damaged_is_refused(server: Server, body: bytes, encoding: str, says: str) -> None:
    server.says(200, body, content_encoding=encoding)
    with pytest.raises(SourceError, match=says):
        fetch(server.url)


@pytest.mark.parametrize("in_header", [True, False])
def test_a_server_that_drips_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch, in_header: bool) -> None:
    stop = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" if in_header else b"HTTP/1.1 200 OK\r\n\r\n")
        while not stop.wait(0.02):
            handler.wfile.write(b"x: y\r\n")

    server.answer = answer
    monkeypatch.setattr(feed_http, "TIMEOUT_S", 0.3)
    with pytest.raises(SourceError, match="was not there after"):
        fetch(server.url)
    stop.set()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/secret-token", "http://no.such.host.invalid/", "feed", "http://a b/", "http://[/"]
)
def test_an_address_that_does_not_answer_is_an_error_without_the_address(url: str) -> None:
    with pytest.raises(SourceError) as caught:
        fetch(url)
    assert "secret-token" not in str(caught.value)
