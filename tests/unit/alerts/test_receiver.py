"""The receiver believes only what is signed."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable

import pytest

from alerts.receiver import Receiver
from alerts.webhook import format_secret, signed_headers
from pipeline.clock import now_us
from pipeline.instants import HOUR_US

KEY = bytes(range(32))


def post(receiver: Receiver, path: str, headers: list[tuple[str, str]], body: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=5)
    try:
        connection.request("POST", path, body, dict(headers))
        return connection.getresponse().status
    finally:
        connection.close()


def signed(key: bytes = KEY, *, age_us: int = 0, body: bytes = b"{}") -> list[tuple[str, str]]:
    return signed_headers([key], "msg_1", now_us() - age_us, body)


# Made when the test runs: a signature is good for five minutes, and there may be more tests than that before.
@pytest.mark.parametrize(
    ("headers", "status", "verified"),
    [
        (signed, 204, True),
        (lambda: signed(KEY[::-1]), 401, False),
        (lambda: signed(age_us=HOUR_US), 401, False),
        (lambda: signed(body=b"[]"), 401, False),
        (lambda: [("webhook-id", "a"), ("webhook-timestamp", "x"), ("webhook-signature", "no")], 401, False),
        (lambda: [("webhook-id", "a"), ("webhook-timestamp", _seconds()), ("webhook-signature", "v1")], 401, False),
        (list, 401, False),
    ],
)
def test_a_forged_request_is_refused(headers: Callable[[], list[tuple[str, str]]], status: int, verified: bool) -> None:
    with Receiver({"/a": format_secret(KEY)}) as receiver:
        assert post(receiver, "/a", headers(), b"{}") == status
        assert [got.verified for got in receiver.received] == [verified]


def _seconds() -> str:
    return str(now_us() // 10**6)


def test_without_a_secret_nothing_is_claimed() -> None:
    with Receiver() as receiver:
        assert post(receiver, "/b", [], b"{}") == 204
        assert receiver.received[0].verified is None


def test_garbage_ends_its_connection_and_nothing_else() -> None:
    with Receiver() as receiver:
        for garbage in (b"\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n", b"x" * 200_000):
            with socket.create_connection(("127.0.0.1", receiver.port), timeout=5) as connection:
                try:
                    connection.sendall(garbage)
                    assert connection.recv(10) == b""
                except ConnectionError:
                    pass
        assert post(receiver, "/", [], b"{}") == 204
