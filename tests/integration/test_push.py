"""The push API over real HTTP into a real journal."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog.testing
import uvicorn
from prometheus_client import CollectorRegistry, Counter

from pipeline.errors import ConfigurationError, JournalError, JournalFull
from pipeline.instants import HOUR_US, MINUTE_US
from pipeline.journal.journal import Journal
from pipeline.records import RawRecord
from pipeline.settings import Settings, load
from pipeline.sources import push, request_body
from pipeline.sources.push import PushTarget, create_app
from pipeline.streams import Definition

NOW_US = 1_700_000_000_000_000
LOGS = Definition(name="logs", kind="logs", tick_us=MINUTE_US)
NEWS = Definition(name="news", kind="news", tick_us=HOUR_US, clock="data", max_ahead_us=HOUR_US)
NDJSON = {"Content-Type": "application/x-ndjson"}
TEXT = {"Content-Type": "text/plain"}


class Api:
    """A running push API with two streams; "news" has two sources and a clock of its own."""

    def __init__(self, folder: Path, settings: Settings, **more: Any) -> None:
        self.journals = {name: Journal(folder, name) for name in ("logs/push", "news/wire", "news/desk", "news/files")}
        streams = {
            "logs": PushTarget(
                definition=LOGS,
                journals={"push": [self.journals["logs/push"]]},
                clocks={"push": [self.journals["logs/push"]]},
            ),
            "news": PushTarget(
                definition=NEWS,
                journals={name: [self.journals[f"news/{name}"]] for name in ("wire", "desk")},
                clocks={name: [self.journals[f"news/{name}"]] for name in ("wire", "desk", "files")},
            ),
        }
        app = create_app(streams, settings, lambda: NOW_US, **more)
        self._server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="on"))
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve()))
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.005)
        self.port: int = self._server.servers[0].sockets[0].getsockname()[1]
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20)

    def close(self) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join()
        for journal in self.journals.values():
            journal.close()

    def post(self, content: bytes, headers: Mapping[str, str], **params: str) -> httpx.Response:
        return self.client.post("/v1/items", content=content, headers=headers, params={"stream": "logs"} | params)

    def records(self, partition: str = "logs/push") -> list[RawRecord]:
        return self.journals[partition].read(0, 100_000)

    def texts(self, partition: str = "logs/push") -> list[str]:
        return [payload.decode() for record in self.records(partition) for payload in record.payloads]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Api]]:
    made: list[Api] = []

    def start(more: Mapping[str, Any] | None = None, **settings: Any) -> Api:
        made.append(Api(tmp_path / str(len(made)), load(Path("no-such-file.toml"), **settings), **(more or {})))
        return made[-1]

    yield start
    for api in made:
        api.close()


@pytest.fixture
def api(serve: Callable[..., Api]) -> Api:
    return serve()


def is_problem(response: httpx.Response, status: int, text: str) -> bool:
    """Whether an answer is problem details with this status; its detail holds `text`."""
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert set(problem) == {"type", "title", "status", "detail"}
    assert (response.status_code, problem["status"]) == (status, status)
    assert text in problem["detail"]
    return True


def test_a_push_is_answered_with_its_place_in_the_log(api: Api) -> None:
    api.post(b"first", TEXT)
    response = api.post(b'[{"id": "1"}, {"id":"2"}]', {"Content-Type": "application/json"})
    assert response.status_code == 202
    assert response.json() == {
        "accepted": 2,
        "stream": "logs",
        "partition": "logs/push",
        "from": 1,
        "to": 3,
        "repeated": False,
    }
    assert response.headers["x-content-type-options"] == "nosniff"
    [line, objects] = api.records()
    assert (line.form, line.payloads, line.received_us, line.source) == ("line", [b"first"], NOW_US, "push")
    assert (objects.form, objects.payloads, objects.ids) == ("json", [b'{"id": "1"}', b'{"id":"2"}'], None)


def test_broken_lines_of_ndjson_are_accepted(api: Api) -> None:
    assert api.post(b'{"a":1}\n{broken\n', NDJSON).json()["accepted"] == 2
    assert api.texts() == ['{"a":1}', "{broken"]


def test_a_packed_push_is_unpacked(api: Api) -> None:
    assert api.post(gzip.compress(b"a\nb"), TEXT | {"Content-Encoding": "gzip"}).json()["accepted"] == 2
    assert api.texts() == ["a", "b"]


def test_a_repeated_key_gets_the_same_answer_and_stores_nothing(api: Api) -> None:
    keyed = TEXT | {"Idempotency-Key": "batch 7"}
    first = api.post(b"a\nb", keyed).json()
    api.post(b"c", TEXT)
    again = api.post(b"a\nb", keyed).json()
    assert (first["repeated"], again["repeated"]) == (False, True)
    assert again == first | {"repeated": True}
    assert api.texts() == ["a", "b", "c"]
    assert api.records()[0].ids == ["batch 7:0", "batch 7:1"]


def test_exactly_one_of_many_equal_pushes_at_once_is_the_first(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    keyed = TEXT | {"Idempotency-Key": "k"}
    journal = api.journals["logs/push"]
    append, both_in = journal.append, threading.Barrier(2)

    def append_together(**more: Any) -> tuple[int, int]:
        with contextlib.suppress(threading.BrokenBarrierError):
            both_in.wait(0.5)  # would let two in at once, were they not kept apart
        return append(**more)

    monkeypatch.setattr(journal, "append", append_together)
    with ThreadPoolExecutor(8) as pool:
        answers = [f.result().json() for f in [pool.submit(api.post, b"a\nb", keyed) for _ in range(24)]]
    assert sorted(answer["repeated"] for answer in answers) == [False] + [True] * 23
    assert {(answer["from"], answer["to"]) for answer in answers} == {(0, 2)}
    assert api.texts() == ["a", "b"]


def test_a_key_with_another_body_is_refused(api: Api) -> None:
    keyed = TEXT | {"Idempotency-Key": "k"}
    api.post(b"a", keyed)
    assert is_problem(api.post(b"b", keyed), 422, "new key")
    assert api.texts() == ["a"]


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb", "é".encode()])
def test_a_key_that_is_empty_long_or_not_printable_is_refused(api: Api, key: str | bytes) -> None:
    request = api.client.build_request("POST", "/v1/items?stream=logs", content=b"a", headers=TEXT)
    request.headers = httpx.Headers(
        [*request.headers.raw, (b"Idempotency-Key", key if isinstance(key, bytes) else key.encode())]
    )
    assert is_problem(api.client.send(request), 400, "1 to 200 printable")


def test_whoever_writes_files_may_keep_their_clock(api: Api) -> None:
    body = {"stream": "news", "into": "files", "time": "2023-11-14T12:00:00Z"}
    assert api.client.post("/v1/heartbeats", json=body).json()["partition"] == "news/files"
    assert is_problem(api.post(b"a", TEXT, stream="news", into="files"), 404, "no push source")


def test_a_heartbeat_that_is_not_utf_8_is_refused(api: Api) -> None:
    assert is_problem(api.client.post("/v1/heartbeats", content=b'{"stream":"\xff","time":1}'), 400, "the body must be")


def test_a_push_names_the_sender_of_its_lines(api: Api) -> None:
    place = api.post(b"first", TEXT, source="web1").json()["from"]
    (line,) = api.journals["logs/push"].read(place, 1)
    assert line.source == "web1"


def test_an_unknown_stream_or_source_names_the_known_ones(api: Api) -> None:
    assert is_problem(api.post(b"a", TEXT, stream="lgos"), 404, "streams: logs, news")
    assert is_problem(api.post(b"a", TEXT, stream=""), 400, "streams: logs, news")
    assert is_problem(api.post(b"a", TEXT, into="other"), 404, "sources: push")
    assert is_problem(api.post(b"a", TEXT, stream="news"), 400, "sources: desk, wire")
    assert api.post(b"a", TEXT, stream="news", into="desk").json()["partition"] == "news/desk"
    assert api.texts("news/desk") == ["a"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "detail"),
    [
        (b"", TEXT, 400, "no item"),
        (b"{", {"Content-Type": "application/json"}, 400, "not JSON"),
        (b"a", {}, 415, "text/plain"),
        (b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "application/json"),
        (b"a", TEXT | {"Content-Encoding": "zstd"}, 415, "gzip"),
        (b"a", TEXT | {"Content-Encoding": "gzip"}, 400, "gzip"),
        (gzip.compress(bytes(2**21)), TEXT | {"Content-Encoding": "gzip"}, 413, "1,048,576 bytes"),
        (b"x" * (2**20 + 1), TEXT, 413, "1,048,576 bytes"),
    ],
)
def test_what_cannot_be_read_is_refused_and_stores_nothing(
    serve: Callable[..., Api], body: bytes, headers: dict[str, str], status: int, detail: str
) -> None:
    api = serve(max_push_bytes=2**20)
    assert is_problem(api.post(body, headers), status, detail)
    assert api.texts() == []


def test_a_long_body_without_a_length_is_refused_while_it_comes(serve: Callable[..., Api]) -> None:
    api = serve(max_push_bytes=1000)
    with socket.create_connection(("127.0.0.1", api.port), timeout=20) as connection:
        connection.sendall(
            b"POST /v1/items?stream=logs HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + (b"1f4\r\n" + b"x" * 500 + b"\r\n") * 3
        )  # and no end
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_other_paths_and_methods_are_problems_too(api: Api) -> None:
    assert is_problem(api.client.get("/nothing"), 404, "Not Found")
    assert is_problem(api.client.get("/v1/items"), 405, "Not Allowed")


def test_a_token_is_asked_for_when_one_is_set(serve: Callable[..., Api]) -> None:
    api = serve(push_token="open sesame")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic open sesame"}):
        response = api.post(b"a", TEXT | headers)
        assert is_problem(response, 401, "token")
        assert response.headers["www-authenticate"].startswith("Bearer")
    assert api.client.post("/v1/heartbeats", json={"stream": "news", "time": 0}).status_code == 401
    assert api.texts() == []
    assert api.post(b"a", TEXT | {"Authorization": "Bearer open sesame"}).status_code == 202


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "tocsin.example", ""])
def test_an_open_address_without_a_token_does_not_start(host: str) -> None:
    with pytest.raises(ConfigurationError, match="TOCSIN_PUSH_TOKEN"):
        create_app({}, load(Path("no-such-file.toml"), host=host), lambda: NOW_US)
    create_app({}, load(Path("no-such-file.toml"), host=host, push_token="t"), lambda: NOW_US)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_a_loopback_address_needs_no_token(host: str) -> None:
    create_app({}, load(Path("no-such-file.toml"), host=host), lambda: NOW_US)


def test_a_page_in_a_browser_cannot_push_without_a_token(api: Api, serve: Callable[..., Api]) -> None:
    origin = TEXT | {"Origin": "https://evil.example"}
    assert is_problem(api.post(b"a", origin), 403, "browser")
    guarded = serve(push_token="t")
    assert guarded.post(b"a", origin | {"Authorization": "Bearer t"}).status_code == 202


def test_a_client_beyond_its_rate_is_told_when_to_come_back(serve: Callable[..., Api]) -> None:
    now = [0.0]
    api = serve({"monotonic": lambda: now[0]}, push_rate=10)
    assert api.post(b"a\n" * 30, TEXT).status_code == 202
    response = api.post(b"b", TEXT)
    assert is_problem(response, 429, "10 items a second")
    assert response.headers["retry-after"] == "2"
    now[0] += 2.1
    assert api.post(b"b", TEXT).status_code == 202
    assert len(api.texts()) == 31


@pytest.mark.parametrize(("error", "detail"), [(JournalFull(), "disk is full"), (JournalError("x"), "journal fails")])
def test_what_the_journal_cannot_store_is_asked_for_again(
    api: Api, monkeypatch: pytest.MonkeyPatch, error: JournalError, detail: str
) -> None:
    def fail(**_: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(api.journals["logs/push"], "append", fail)
        response = api.post(b"a", TEXT)
        assert is_problem(response, 503, detail)
        assert response.headers["retry-after"] == "5"
    assert api.post(b"a", TEXT).status_code == 202


def test_slow_clients_do_not_delay_others(serve: Callable[..., Api]) -> None:
    api = serve()
    head = b"POST /v1/items?stream=logs HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\na"
    slow = [socket.create_connection(("127.0.0.1", api.port)) for _ in range(40)]
    try:
        for connection in slow:
            connection.sendall(head)
        assert api.post(b"quick", TEXT).status_code == 202
        assert api.client.get("/readyz").status_code == 200
    finally:
        for connection in slow:
            connection.close()
    assert api.texts() == ["quick"]


def test_a_body_that_takes_too_long_is_given_up(serve: Callable[..., Api], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "TIMEOUT_S", 0.05)
    api = serve()
    with socket.create_connection(("127.0.0.1", api.port), timeout=20) as connection:
        connection.sendall(
            b"POST /v1/items?stream=logs HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\na"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")


def test_bodies_together_have_a_bound(serve: Callable[..., Api], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "BODIES", 1)
    api = serve(max_push_bytes=1000)
    with socket.create_connection(("127.0.0.1", api.port), timeout=20) as connection:
        connection.sendall(
            b"POST /v1/items?stream=logs HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 900\r\n\r\n"
            + b"x" * 800
        )
        deadline = time.monotonic() + 20
        while (response := api.post(b"y" * 300, TEXT)).status_code == 202:
            assert time.monotonic() < deadline
        assert is_problem(response, 503, "too many requests")
        connection.sendall(b"x" * 100)
        assert connection.recv(100).startswith(b"HTTP/1.1 202 ")
    assert api.post(b"y" * 300, TEXT).status_code == 202


def test_a_client_that_goes_away_stores_nothing(api: Api) -> None:
    with socket.create_connection(("127.0.0.1", api.port)) as connection:
        connection.sendall(
            b"POST /v1/items?stream=logs HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
            b"Content-Length: 9\r\n\r\na\nb"
        )
    assert api.post(b"c", TEXT).status_code == 202
    assert api.texts() == ["c"]


@pytest.mark.parametrize("time", ["2023-11-14T22:00:00Z", 1_699_999_200, "1699999200000"])
def test_a_heartbeat_is_stored_for_a_stream_with_a_clock_of_its_own(api: Api, time: str | int) -> None:
    response = api.client.post("/v1/heartbeats", json={"stream": "news", "into": "wire", "time": time})
    assert response.status_code == 202
    assert response.json() == {
        "stream": "news",
        "partition": "news/wire",
        "time": "2023-11-14T22:00:00Z",
        "from": 0,
        "to": 1,
    }
    [record] = api.records("news/wire")
    assert (record.kind, record.time_us, record.received_us) == ("heartbeat", 1_699_999_200_000_000, NOW_US)


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"stream": "logs", "time": 0}, 409, "its own clock"),
        ({"stream": "nwes", "time": 0}, 404, "streams: logs, news"),
        ({"stream": "news", "into": "wire", "time": "soon"}, 400, "not a time"),
        ({"stream": "news", "into": "wire", "time": "2023-11-15T12:00:00Z"}, 400, "future"),
        ({"stream": "news"}, 400, "time"),
        ({"stream": "news", "time": 0, "more": 1}, 400, "more"),
        ([], 400, "stream"),
    ],
)
def test_a_heartbeat_that_makes_no_sense_is_refused(api: Api, body: Any, status: int, detail: str) -> None:
    assert is_problem(api.client.post("/v1/heartbeats", json=body), status, detail)
    assert api.records("news/wire") == []


def test_readiness_says_what_is_wrong(serve: Callable[..., Api]) -> None:
    states = {"postgres": "ok", "worker": "ok"}
    api = serve({"states": lambda: states})
    assert api.client.get("/healthz").json() == {"status": "ok"}
    assert api.client.get("/readyz").json() == {"status": "ok", "states": states}
    states["postgres"] = "no answer"
    response = api.client.get("/readyz")
    assert (response.status_code, response.json()["states"]["postgres"]) == (503, "no answer")
    assert api.client.get("/healthz").status_code == 200


def test_metrics_are_those_of_the_registry(serve: Callable[..., Api]) -> None:
    registry = CollectorRegistry()
    Counter("tocsin_things", "things", registry=registry).inc(3)
    response = serve({"registry": registry}).client.get("/metrics")
    assert "tocsin_things_total 3.0" in response.text
    assert response.headers["content-type"].startswith("text/plain")


def test_neither_payload_nor_token_reaches_a_log_or_an_error(
    serve: Callable[..., Api], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    api = serve(push_token="open sesame")
    headers = TEXT | {"Authorization": "Bearer open sesame"}
    answers = []
    with structlog.testing.capture_logs() as logs, caplog.at_level("DEBUG"):
        for error in (JournalFull(), JournalError("x"), RuntimeError("bug")):

            def fail(error: Exception = error, **_: Any) -> None:
                raise error

            with monkeypatch.context() as patch:
                patch.setattr(api.journals["logs/push"], "append", fail)
                answers.append(api.post(b"patient Smith", headers))
        answers.append(api.post(b"patient Smith", TEXT | {"Authorization": "Bearer Smith"}))
        answers.append(api.post(b'{"patient": Smith}', headers | {"Content-Type": "application/json"}))
    assert [answer.status_code for answer in answers] == [503, 503, 500, 401, 400]
    said = json.dumps(logs) + "".join(answer.text for answer in answers) + caplog.text
    assert "push_not_stored" in said
    assert "Smith" not in said
    assert "sesame" not in said
