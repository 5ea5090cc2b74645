"""The delivery worker: claims deliveries that are due, sends them, records what they met.

Delivery: at least once; each attempt carries the same `webhook-id`. A crash between sending and recording, or a
lease that ran out, means one more attempt, never none.
Ordering: none. An endpoint that is slow or dead delays only its own queue (see `circuit`).
Raises: nothing for an endpoint or a Postgres that fails: the one is retried by its schedule, the other is waited
for, holding on to what was not recorded yet.
"""

from __future__ import annotations

import asyncio
import math
import random
import ssl
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog
from sqlalchemy import Engine

from alerts import endpoints, outbox
from alerts.caller import TIMEOUT_S, Answer, Caller
from alerts.circuit import FIRST_WINDOW, Circuit
from alerts.egress import Allowed, parse_url
from alerts.keyring import Keyring
from alerts.outbox import Attempt, Claimed
from alerts.retry import asked_wait_s, decide
from alerts.store import transaction
from alerts.subscriptions import signing_keys
from alerts.webhook import signed_headers
from pipeline.clock import now_us
from pipeline.errors import StoreUnavailable, TocsinError
from pipeline.instants import to_datetime

#: Attempts under way at once, over all endpoints.
MAX_IN_FLIGHT = 512
#: Seconds until due deliveries are looked for when nobody calls `wake`.
POLL_S = 1.0
#: Seconds between two exchanges with Postgres while there is work: fewer, larger transactions.
GATHER_S = 0.005
#: Seconds between two tries while Postgres is away: doubled each time.
FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.1, 5.0

log = structlog.get_logger()


class DeliveryWorker:
    """Sends until it is told to stop; any number of workers share one outbox."""

    def __init__(
        self,
        engine: Engine,
        keyring: Keyring,
        allowed: Allowed,
        *,
        tls: ssl.SSLContext | None = None,
        timeout_s: float = TIMEOUT_S,
        drain_s: float = math.inf,
        clock: Callable[[], int] = now_us,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`timeout_s`: how long an attempt may take; `drain_s`: how long those under way are waited for at the end."""
        self._engine = engine
        self._keyring = keyring
        self._allowed = allowed
        self._tls = tls
        self._timeout_s = timeout_s
        self._drain_s = min(drain_s, timeout_s + 1)
        self._clock = clock
        self._draw = draw
        self._id = uuid.uuid4().hex
        self._circuits: defaultdict[str, Circuit] = defaultdict(Circuit)
        self._in_flight: dict[str, asyncio.Task[None]] = {}
        self._made: list[Attempt] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._available = True

    def wake(self) -> None:
        """Something was queued: look now. Safe from any thread; does nothing while the worker does not run."""
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._woken.set)
            except RuntimeError:  # the loop has just been closed
                pass

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set; then finish what is under way and record it."""
        self._loop = asyncio.get_running_loop()
        caller = Caller(self._allowed, tls=self._tls, timeout_s=self._timeout_s)
        store = ThreadPoolExecutor(1, thread_name_prefix="deliveries")
        stopping = asyncio.create_task(self._wake_at(stop))
        try:
            backoff_s = FIRST_BACKOFF_S
            while not stop.is_set():
                self._woken.clear()
                claimed = await self._exchange(store)
                if claimed is None:
                    await self._rest(stop, backoff_s)
                    backoff_s = min(MAX_BACKOFF_S, backoff_s * 2)
                    continue
                backoff_s = FIRST_BACKOFF_S
                for delivery in claimed:
                    self._circuits[delivery.subscription].began()
                    self._in_flight[delivery.id] = asyncio.create_task(self._attempt(caller, delivery))
                if claimed or self._made:
                    await asyncio.sleep(GATHER_S)
                else:
                    await self._pause(POLL_S)
            await self._drain(store)
        finally:
            self._loop = None
            stopping.cancel()
            for task in self._in_flight.values():
                task.cancel()
            await caller.close()
            store.shutdown(wait=False)

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._woken.set()

    async def _pause(self, most_s: float) -> None:
        try:
            async with asyncio.timeout(most_s):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _rest(self, stop: asyncio.Event, most_s: float) -> None:
        try:
            async with asyncio.timeout(most_s):
                await stop.wait()
        except TimeoutError:
            pass

    async def _drain(self, store: ThreadPoolExecutor) -> None:
        if self._in_flight:
            await asyncio.wait(self._in_flight.values(), timeout=self._drain_s)
        for _ in range(5):
            if await self._exchange(store, last=True) is not None:
                return
            await asyncio.sleep(FIRST_BACKOFF_S)
        log.warning("deliveries_not_recorded", attempts=len(self._made))

    async def _exchange(self, store: ThreadPoolExecutor, *, last: bool = False) -> list[Claimed] | None:
        """Record what was made and claim what is due, in one transaction; None when Postgres is away."""
        made = sorted(self._made, key=lambda attempt: attempt.delivery)
        held = [*self._in_flight, *(attempt.delivery for attempt in made)]
        now_s = time.monotonic()
        free = {name: circuit.free(now_s) for name, circuit in self._circuits.items()}
        room = 0 if last else max(0, MAX_IN_FLIGHT - len(self._in_flight))
        loop = asyncio.get_running_loop()
        try:
            claimed = await loop.run_in_executor(store, self._in_transaction, made, free, room, held)
        except StoreUnavailable as error:
            if self._available:
                log.warning("deliveries_store_unavailable", error=str(error))
            self._available = False
            return None
        if not self._available:
            log.info("deliveries_store_back")
        self._available = True
        recorded = set(map(id, made))
        self._made = [attempt for attempt in self._made if id(attempt) not in recorded]
        return claimed

    def _in_transaction(self, made: list[Attempt], free: dict[str, int], room: int, held: list[str]) -> list[Claimed]:
        now = self._clock()
        with transaction(self._engine) as connection:
            fresh = outbox.record(connection, made, worker=self._id)
            if fresh:
                for subscription in endpoints.judge(connection, fresh, now):
                    log.warning("endpoint_disabled", subscription=subscription)
            if not self._available:
                outbox.release(connection, worker=self._id, held=held)
            if not room:
                return []
            return outbox.claim(connection, worker=self._id, now_us=now, room=room, window=FIRST_WINDOW, free=free)

    async def _attempt(self, caller: Caller, delivery: Claimed) -> None:
        at_us = self._clock()
        answer = await self._post(caller, delivery, at_us)
        asked_s = asked_wait_s(answer.retry_after, self._clock()) if answer.retry_after else 0.0
        decision = decide(attempt=delivery.attempts + 1, status=answer.status, asked_s=asked_s, jitter=self._draw())
        self._circuits[delivery.subscription].ended(
            success=decision.state == "delivered",
            duration_s=answer.duration_s,
            asked_s=asked_s,
            now_s=time.monotonic(),
        )
        self._made.append(
            Attempt(
                delivery=delivery.id,
                subscription=delivery.subscription,
                at_us=at_us,
                status=answer.status,
                duration_ms=round(answer.duration_s * 1000),
                response=answer.response,
                error=answer.error,
                decision=decision,
            )
        )
        del self._in_flight[delivery.id]
        self._woken.set()

    async def _post(self, caller: Caller, delivery: Claimed, at_us: int) -> Answer:
        try:
            target = parse_url(delivery.url)
            keys = signing_keys(
                delivery.secret,
                delivery.previous_secret,
                delivery.previous_until,
                self._keyring,
                to_datetime(at_us),
            )
        except TocsinError as error:  # a URL or a key that no longer fits concerns this endpoint alone
            return Answer(None, 0.0, error=str(error))
        return await caller.post(target, signed_headers(keys, delivery.id, at_us, delivery.payload), delivery.payload)
