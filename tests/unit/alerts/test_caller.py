"""One attempt, against receivers that behave and receivers that do not."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from alerts import caller as caller_module
from alerts.caller import MAX_RESPONSE, Answer, Caller
from alerts.egress import Allowed, parse_url
from pipeline.clock import now_us
from pipeline.instants import DAY_US, to_datetime

LOOPBACK = Allowed.parse(["127.0.0.0/8"])
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return head + await reader.readexactly(length)


def call(
    serve: Serve,
    *,
    url: str = "http://127.0.0.1:{port}/hook",
    times: int = 1,
    timeout_s: float = 5.0,
    server_tls: ssl.SSLContext | None = None,
    client_tls: ssl.SSLContext | None = None,
    allowed: Allowed = LOOPBACK,
) -> list[Answer]:
    """Answers to `times` calls, one after the other, of a server that does `serve` on each connection."""

    async def main() -> list[Answer]:
        connections: set[asyncio.Task[Any]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            try:
                await serve(reader, writer)
            except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                writer.transport.abort()

        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=server_tls)
        port = server.sockets[0].getsockname()[1]
        caller = Caller(allowed, timeout_s=timeout_s, tls=client_tls)
        try:
            target = parse_url(url.format(port=port))
            return [await caller.post(target, [("webhook-id", "msg_1")], b'{"a":1}') for _ in range(times)]
        finally:
            await caller.close()
            server.close()
            for task in connections:
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)
            await asyncio.sleep(0)

    return asyncio.run(main())


def answering(reply: bytes, *, close: bool = False) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request(reader)
            writer.write(reply)
            await writer.drain()
            if close:
                return

    return serve


def test_the_request_is_what_was_signed() -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await request(reader))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nRetry-After: 3\r\n\r\nok")

    (answer,) = call(serve)
    assert (answer.status, answer.response, answer.retry_after, answer.error) == (200, b"ok", "3", "")
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /hook HTTP/1.1\r\n")
    assert b"webhook-id: msg_1" in head
    assert body == b'{"a":1}'


def test_a_connection_is_used_again() -> None:
    connections: list[None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(None)
        await answering(b"HTTP/1.1 204 No Content\r\n\r\n")(reader, writer)

    assert [answer.status for answer in call(serve, times=3)] == [204, 204, 204]
    assert len(connections) == 1


def test_an_idle_connection_that_was_closed_is_replaced() -> None:
    answers = call(answering(b"HTTP/1.1 204 No Content\r\n\r\n", close=True), times=3)
    assert [answer.status for answer in answers] == [204, 204, 204]


def test_a_receiver_that_never_answers_is_given_up() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    (answer,) = call(serve, timeout_s=0.2)
    assert answer.status is None
    assert "no answer within 0.2 s" in answer.error
    assert answer.duration_s < 2.0


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n"])
def test_a_receiver_that_drips_its_head_is_given_up_in_time(start: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(start)
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    (answer,) = call(serve, timeout_s=0.3)
    assert answer.status is None
    assert answer.duration_s < 2.0


def test_a_status_counts_though_its_body_drips_for_ever() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    (answer,) = call(serve, timeout_s=0.3)
    assert (answer.status, answer.error) == (200, "")
    assert answer.response.strip(b"x") == b""
    assert answer.duration_s < 2.0


def test_a_long_response_is_cut() -> None:
    reply = b"HTTP/1.1 500 No\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 10_000_000
    (answer,) = call(answering(reply))
    assert answer.status == 500
    assert len(answer.response) == MAX_RESPONSE


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 100_000,
        b"HTTP/1.1 200 OK\r\na: " + b"b" * 1_000_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"\x00" * 1000,
    ],
)
def test_what_is_not_an_http_answer_is_a_failure(reply: bytes) -> None:
    (answer,) = call(answering(reply, close=True))
    assert answer.status is None
    assert answer.error


def test_a_refused_connection_is_a_failure() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (answer,) = call(answering(b""), url=f"http://127.0.0.1:{port}/")
    assert answer.status is None
    assert "ConnectionRefusedError" in answer.error


@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".example"])
def test_what_is_no_host_name_is_a_failure(host: str) -> None:
    (answer,) = call(answering(b""), url=f"https://{host}/")
    assert answer.status is None
    assert answer.error


def resolving(monkeypatch: pytest.MonkeyPatch, *turns: list[str]) -> None:
    """The name resolves to these addresses in turn."""
    left = list(turns)

    def getaddrinfo(host: str, port: int, *_: object) -> list[Any]:
        addresses = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    class Resolver:
        SOCK_STREAM = socket.SOCK_STREAM

    Resolver.getaddrinfo = staticmethod(getaddrinfo)  # type: ignore[attr-defined]
    monkeypatch.setattr(caller_module, "socket", Resolver)


def test_a_name_that_resolves_to_loopback_the_second_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    connections: list[None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(None)
        await answering(b"HTTP/1.1 204 No Content\r\n\r\n", close=True)(reader, writer)

    resolving(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    first, second = call(serve, url="http://rebinding.example:{port}/", times=2, allowed=Allowed.parse(["127.0.0.1"]))
    assert first.status == 204
    assert second.status is None
    assert "127.0.0.2" in second.error
    assert "egress_allow" in second.error
    assert len(connections) == 1


def test_of_several_addresses_one_that_is_allowed_and_answers_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, ["10.0.0.1", "127.0.0.9", "127.0.0.1"])
    (answer,) = call(answering(b"HTTP/1.1 204 No Content\r\n\r\n"), url="http://many.example:{port}/")
    assert answer.status == 204


def certificate(folder: Path, host: str, address: str = "") -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's TLS for one host name, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    today: datetime.datetime = to_datetime(now_us())
    names: list[x509.GeneralName] = [x509.DNSName(host)]
    if address:
        names.append(x509.IPAddress(ipaddress.ip_address(address)))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(to_datetime(now_us() - DAY_US))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cafile=str(file))


OK = b"HTTP/1.1 204 No Content\r\n\r\n"


def test_tls_is_verified_against_the_host_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, client = certificate(tmp_path, "hooks.example")
    resolving(monkeypatch, ["127.0.0.1"])
    (fits,) = call(answering(OK), url="https://hooks.example:{port}/", server_tls=server, client_tls=client)
    assert fits.status == 204
    (other,) = call(answering(OK), url="https://other.example:{port}/", server_tls=server, client_tls=client)
    assert other.status is None
    assert "TLS" in other.error


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    server, _ = certificate(tmp_path, "localhost", "127.0.0.1")
    (answer,) = call(answering(OK), url="https://127.0.0.1:{port}/", server_tls=server)
    assert answer.status is None
    assert "TLS" in answer.error


def test_no_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    (answer,) = call(answering(OK))
    assert answer.status == 204
