"""A small webhook receiver that verifies signatures and keeps what it got: for the demo, tests and benches.

It runs an event loop in a thread of its own, on a free port of the loopback. Signatures are verified with the
`standardwebhooks` package, which shares no code with what signs them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

MAX_BODY = 2**20


@dataclass(frozen=True, slots=True)
class Received:
    """One request. `verified` is None when no secret is known for its path."""

    webhook_id: str
    body: bytes
    verified: bool | None
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the receiver answers."""

    status: int = 204
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Respond = Callable[[Received], Awaitable[Reply]]


class Receiver:
    """`with Receiver() as receiver: receiver.url("/a")`. A forged or unsigned request is answered 401.

    `secrets` maps a path to the `whsec_` secret of the subscription that points there; a path may be added at
    any time. `respond` decides the answer to what is not forged (204 without one); it runs on the receiver's
    event loop.
    """

    def __init__(self, secrets: dict[str, str] | None = None, respond: Respond | None = None) -> None:
        self.secrets = secrets if secrets is not None else {}
        self.received: list[Received] = []
        self.port = 0
        self._respond = respond
        self._arrived = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)
        self._ready = threading.Event()
        self._connections: set[asyncio.Task[None]] = set()

    def url(self, path: str = "/") -> str:
        """Where a path of this receiver is reached."""
        return f"http://127.0.0.1:{self.port}{path}"

    def wait_for(self, count: int, timeout_s: float = 10.0) -> bool:
        """Wait until so many requests have come. Returns whether they have."""
        with self._arrived:
            return self._arrived.wait_for(lambda: len(self.received) >= count, timeout_s)

    def __enter__(self) -> Receiver:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**16))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in self._connections:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._connections, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the sender went away, or does not speak HTTP
        except asyncio.CancelledError:
            pass
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        path = lines[0].split(" ")[1]
        headers = {
            name.strip().lower(): value.strip()
            for name, colon, value in (line.partition(":") for line in lines[1:])
            if colon
        }
        length = int(headers.get("content-length", "0"))
        if not 0 <= length <= MAX_BODY:
            return False
        body = await reader.readexactly(length)
        got = Received(headers.get("webhook-id", ""), body, self._verify(path, headers, body), path, headers)
        with self._arrived:
            self.received.append(got)
            self._arrived.notify_all()
        if got.verified is False:
            reply = Reply(401, b"the signature does not fit")
        else:
            reply = await self._respond(got) if self._respond else Reply()
        head = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"]
        head += [f"{name}: {value}" for name, value in reply.headers.items()]
        if reply.status != 204:
            head.append(f"content-length: {len(reply.body)}")
        writer.write("\r\n".join([*head, "", ""]).encode("latin-1") + reply.body)
        await writer.drain()
        return True

    def _verify(self, path: str, headers: Mapping[str, str], body: bytes) -> bool | None:
        secret = self.secrets.get(path)
        if secret is None:
            return None
        try:
            Webhook(secret).verify(body, dict(headers), json_parse=False)
        except (WebhookVerificationError, ValueError):  # ValueError: headers that cannot be read
            return False
        return True
