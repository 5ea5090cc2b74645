"""`tocsin run deliver`: sends what is queued. Any number of them share one outbox; see `alerts.worker`.

A notice of the dispatcher's transaction wakes them at once, wherever it runs.
"""

from __future__ import annotations

import asyncio
import threading

from sqlalchemy import Engine

from alerts import outbox
from alerts.egress import Allowed
from alerts.notices import Listener
from alerts.store import transaction
from alerts.worker import DeliveryWorker
from pipeline.errors import StoreUnavailable
from pipeline.kafka.database import opened, shared_keyring
from pipeline.kafka.worker import Context

#: Seconds that attempts under way get when the worker is told to stop; what is not over by then is made again.
DRAIN_S = 6.0
#: Seconds that the listener gets to end.
STOP_S = 2.0
_COUNT_EVERY_S = 2.0


def run(context: Context) -> None:
    """Deliver until told to stop. Raises ConfigurationError, StateMismatch."""
    settings = context.settings
    keyring = shared_keyring(settings)
    allowed = Allowed.parse(settings.egress_allow, http=settings.egress_http)
    with opened(context, pool_size=3) as engine:
        if engine is None:
            return
        deliveries = DeliveryWorker(engine, keyring, allowed, drain_s=DRAIN_S)
        listener = Listener(engine, deliveries.wake)
        counter = threading.Thread(target=_count, args=(context, engine), name="outbox", daemon=True)
        listener.start()
        counter.start()
        try:
            asyncio.run(_deliver(deliveries, context.stop))
        finally:
            listener.stop(STOP_S)


async def _deliver(deliveries: DeliveryWorker, stop: threading.Event) -> None:
    """Deliver until an event of threads is set."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait() -> None:
        stop.wait()
        loop.call_soon_threadsafe(stopped.set)

    threading.Thread(target=wait, name="stop", daemon=True).start()
    await deliveries.run(stopped)


def _count(context: Context, engine: Engine) -> None:
    """Tell how much waits, and whether Postgres is there."""
    while True:
        try:
            with transaction(engine) as connection:
                context.metrics.outbox.set(outbox.depth(connection))
            context.health.ok("postgres")
        except StoreUnavailable as error:
            context.health.trouble("postgres", str(error))
        if context.stop.wait(_COUNT_EVERY_S):
            return
