"""The push API: items over HTTP into the journals of their streams."""

from __future__ import annotations

import asyncio
import secrets
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from weakref import WeakValueDictionary
from zoneinfo import ZoneInfo

import msgspec
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.errors import BrokenItem, JournalError, JournalFull, JournalUnavailable, JournalUncertain, KeyReused
from pipeline.ingest.timestamps import parse_time
from pipeline.instants import to_iso
from pipeline.records import Form
from pipeline.scoring.text_scores import TextScores
from pipeline.settings import Settings, check_push
from pipeline.sources.problem import Problem, answer_with_problems
from pipeline.sources.push_body import negotiate, read_push
from pipeline.sources.push_limits import RateLimit, Room
from pipeline.sources.request_body import read_body
from pipeline.sources.score_api import add_score
from pipeline.sources.score_desk import ScoreDesk
from pipeline.streams import Definition

log = structlog.get_logger()

#: Threads that append; those that wait for the disk at once share one sync.
APPEND_THREADS = 8
#: Largest bodies that are held at once.
BODIES = 16
MAX_KEY = 200


class PushJournal(Protocol):
    """What the push API needs of the journal of one raw partition; see pipeline.journal.journal.Journal and
    pipeline.kafka.journal.KafkaJournal for what holds.

    Delivery: what an append returned for is durable; what it raised for was not taken, except JournalUncertain.
    Ordering: the items of one append keep theirs; what is appended after `end` was read comes after `end`.
    Idempotence: a key that is remembered gives the range that it had, which begins before `end`.
    Raises: KeyReused, JournalUncertain, JournalError.
    """

    partition: str

    @property
    def end(self) -> int: ...

    def append(
        self,
        *,
        payloads: list[bytes],
        form: Form,
        source: str,
        received_us: int,
        ids: Sequence[str] | None = None,
        key: str | None = None,
        note: str = "",
    ) -> tuple[int, int]: ...

    def append_control(self, kind: Literal["heartbeat"], *, received_us: int, time_us: int = 0) -> tuple[int, int]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PushTarget:
    """A stream: the journals of its push sources, and `clocks`, those of all its sources, by the source's name: one
    for each raw partition of the source.

    Items go to push sources; a heartbeat may go to any clock, since whoever writes files keeps their clock as well.
    """

    definition: Definition
    journals: Mapping[str, Sequence[PushJournal]]
    clocks: Mapping[str, Sequence[PushJournal]]


def partition_for(count: int, *, sender: str | None, key: str | None) -> int:
    """Which of a source's `count` raw partitions takes a push: that of its sender, else that of its key.

    Each partition remembers ids of its own, so what may be sent again must meet what was sent before: a sender always
    in one partition, and who names no sender, each key.
    """
    return zlib.crc32((sender or key or "").encode("utf-8", "replace")) % count


class _Heartbeat(msgspec.Struct, forbid_unknown_fields=True):
    stream: str
    time: str | int | float
    into: str = ""


def create_app(
    streams: Mapping[str, PushTarget],
    settings: Settings,
    clock: Callable[[], int],
    *,
    scores: Callable[[], TextScores] | None = None,
    states: Callable[[], Mapping[str, str]] = dict,
    registry: CollectorRegistry | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    threads: int = APPEND_THREADS,
) -> FastAPI:
    """The app. `scores` loads what `POST /v1/score` scores with, when it is first asked; without, there is none of it.
    `states` says of each dependency "ok" or what is wrong; `registry` is shown at /metrics; so many
    `threads` append.

    Delivery: 202 says that every item of the push is durable; any other answer, that none was accepted. No answer
    at all says nothing, and nor does a 503 that says so: repeat the push, with the same Idempotency-Key it counts once.
    Ordering: the items of one push keep their order; pushes are stored in the order in which they are answered.
    Idempotence: the same key and body get the same answer, with "repeated": true, among the last keys of a source.
    Raises ConfigurationError when the API would be open to a network without a token.
    """
    check_push(settings)
    token = settings.push_token.get_secret_value().encode() if settings.push_token else b""
    executor = ThreadPoolExecutor(threads, thread_name_prefix="push")
    desk = ScoreDesk(scores) if scores is not None else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        executor.shutdown()
        if desk is not None:
            desk.close()

    app = FastAPI(title="Tocsin push API", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_middleware(_NoSniff)
    answer_with_problems(app)
    limit = RateLimit(settings.push_rate, monotonic)
    room = Room(BODIES * settings.max_push_bytes)
    locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def authorize(request: Request) -> None:
        if token:
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not secrets.compare_digest(given.strip().encode(), token):
                raise Problem(
                    401, "send the push token: Authorization: Bearer ...", {"WWW-Authenticate": 'Bearer realm="tocsin"'}
                )
        elif "origin" in request.headers:
            # Any page that a browser shows can post to a loopback address.
            raise Problem(403, "pages in a browser may not call this without a token; set TOCSIN_PUSH_TOKEN")

    def find(
        stream: str | None, into: str | None, *, beat: bool = False
    ) -> tuple[PushTarget, str, Sequence[PushJournal]]:
        target = streams.get(stream or "")
        if target is None:
            said = f"there is no stream {stream[:100]!r} to push to" if stream else "say which stream: ?stream=NAME"
            raise Problem(404 if stream else 400, f"{said}; streams: {', '.join(sorted(streams)) or 'none'}")
        there = target.clocks if beat else target.journals
        sources = ", ".join(sorted(there)) or "none"
        if not into and len(there) != 1:
            raise Problem(400, f"say which source of {stream}: into=NAME; sources: {sources}")
        name = into or next(iter(there))
        if name not in there:
            what = "source" if beat else "push source"
            raise Problem(404, f"stream {stream} has no {what} {name[:100]!r}; sources: {sources}")
        return target, name, there[name]

    async def stored(journal: PushJournal, work: Callable[[], tuple[int, int]]) -> tuple[int, int]:
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, work)
        except KeyReused as error:
            raise Problem(422, str(error)) from None
        except JournalUncertain as error:
            log.error("push_uncertain", partition=journal.partition, error=str(error))
            raise Problem(503, _UNCERTAIN, {"Retry-After": "5"}) from None
        except JournalError as error:
            # While the log is away, every push meets that: it is said once, by who waits for it.
            away = isinstance(error, JournalUnavailable)
            (log.debug if away else log.error)("push_not_stored", partition=journal.partition, error=str(error))
            why = "the disk is full" if isinstance(error, JournalFull) else "the journal fails"
            why = "Kafka does not answer" if away else why
            raise Problem(503, f"nothing was accepted: {why}; send it again later", {"Retry-After": "5"}) from None

    @app.post("/v1/items", status_code=202, openapi_extra=_BODY)
    async def items(
        request: Request, stream: str | None = None, source: str | None = None, into: str | None = None
    ) -> Any:
        """Store items: a JSON object or an array of them, NDJSON, or log lines as plain text; gzip if you like.

        `source` names the sender of items that do not name one themselves; `into` is the push source that takes
        them, where the stream has several.
        """
        authorize(request)
        _, name, journals = find(stream, into)
        if source is not None and not 0 < len(source) <= MAX_KEY:
            raise Problem(400, f"source names the sender in 1 to {MAX_KEY} characters")
        encoding = negotiate(request.headers.get("content-type", ""), request.headers.get("content-encoding", ""))
        key = _key(request)
        client = request.client.host if request.client else ""
        limit.check(client)
        with room.share() as take:
            body = await read_body(request, settings.max_push_bytes, take)
            loop = asyncio.get_running_loop()
            got = await loop.run_in_executor(executor, read_push, body, encoding, settings.max_push_bytes)
            count = len(got.payloads)
            limit.take(client, count)
            journal = journals[partition_for(len(journals), sender=source, key=key)]

            def append() -> tuple[int, int]:
                return journal.append(
                    payloads=got.payloads,
                    form=got.form,
                    source=source or name,
                    received_us=clock(),
                    ids=got.ids or ([f"{key}:{index}" for index in range(count)] if key else None),
                    key=key,
                    note=got.note,
                )

            # One push of a key at a time, so that exactly one of them is told that it was the first.
            place = (journal.partition, key or "")
            lock = (locks.get(place) if key else None) or asyncio.Lock()
            if key:
                locks[place] = lock
            async with lock:
                before = journal.end
                start, end = await stored(journal, append)
        return {
            "accepted": count,
            "stream": stream,
            "partition": journal.partition,
            "from": start,
            "to": end,
            "repeated": start < before,
        }

    @app.post("/v1/heartbeats", status_code=202)
    async def heartbeats(request: Request) -> Any:
        """Say that nothing before a time is still to come, for a stream whose clock is "data"."""
        authorize(request)
        with room.share() as take:
            body = await read_body(request, min(settings.max_push_bytes, 4096), take)
        try:
            beat = msgspec.json.decode(body, type=_Heartbeat)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Problem(400, f'the body must be {{"stream": ..., "time": ...}}: {error}') from None
        target, _, journals = find(beat.stream, beat.into, beat=True)
        definition = target.definition
        if definition.clock != "data":
            raise Problem(
                409, f'stream {definition.name} keeps its own clock; only one with clock = "data" takes heartbeats'
            )
        received_us = clock()
        try:
            time_us = parse_time(beat.time, received_us=received_us, zone=ZoneInfo(definition.zone))
        except BrokenItem as error:
            raise Problem(400, error.reason) from None
        if time_us > received_us + definition.max_ahead_us:
            raise Problem(400, f"{to_iso(time_us)} is further in the future than max_ahead of {definition.name}")
        limit.take(request.client.host if request.client else "", 1)

        def beating(journal: PushJournal) -> Callable[[], tuple[int, int]]:
            return lambda: journal.append_control("heartbeat", received_us=received_us, time_us=time_us)

        # Each partition is a clock. A heartbeat that only some of them got is repeated without harm.
        places = await asyncio.gather(*(stored(journal, beating(journal)) for journal in journals))
        said = [
            {"partition": journal.partition, "from": start, "to": end}
            for journal, (start, end) in zip(journals, places, strict=True)
        ]
        where = said[0] if len(said) == 1 else {"partitions": said}
        return {"stream": definition.name, "time": to_iso(time_us), **where}

    if desk is not None:
        add_score(app, desk, max_bytes=settings.max_push_bytes, authorize=authorize, limit=limit, room=room)

    @app.get("/healthz")
    async def healthz() -> Any:
        """Whether this process answers."""
        return {"status": "ok"}

    @app.get("/readyz")
    def readyz() -> Any:
        """Whether all that the pipeline needs is there."""
        found = dict(states())
        ready = all(state == "ok" for state in found.values())
        return JSONResponse({"status": "ok" if ready else "unavailable", "states": found}, 200 if ready else 503)

    @app.get("/metrics")
    def metrics() -> Response:
        """Metrics in the text format of Prometheus."""
        return Response(generate_latest(registry or CollectorRegistry()), media_type=CONTENT_TYPE_LATEST)

    return app


_UNCERTAIN = (
    "it is not known whether this was accepted: Kafka went away while it was stored; send it again with the same "
    "Idempotency-Key, and it counts once (without a key, only items with ids of their own do)"
)

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"oneOf": [{"type": "object"}, {"type": "array"}]}},
            "application/x-ndjson": {"schema": {"type": "string"}},
            "text/plain": {"schema": {"type": "string"}},
        },
    }
}


def _key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
        raise Problem(400, f"Idempotency-Key must be 1 to {MAX_KEY} printable ASCII characters")
    return key


class _NoSniff:
    """Browsers must not guess what an answer is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Content-Type-Options"] = "nosniff"
            await send(message)

        await self._app(scope, receive, send_marked)
