"""How a feed is fetched: what is sent, where redirects may lead, and what a hostile server can do."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline.errors import SourceError
from pipeline.sources import feed_http
from pipeline.sources.feed_http import MAX_FEED_BYTES, Fetched, http_fetch

FEED = b'<?xml version="1.0"?><rss version="2.0"><channel><title>T</title></channel></rss>'


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
    server.says(200, gzip.compress(FEED), content_encoding="gzip", etag='"f"', last_modified="today")
    assert fetch(server.url) == Fetched(status=200, body=FEED, etag='"f"', modified="today")
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
