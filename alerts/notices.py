"""Notices: whoever sends deliveries hears at once that some were queued, in whichever process.

Delivery: at most once, when the transaction that queued them commits; a notice that is lost on the way (Postgres
was away, a connection pool that takes sessions apart stands before it) costs a moment: deliveries are looked for
every second as well.
Ordering: none.
Idempotence: any number of notices means the same as one.
Raises: nothing; a Postgres that is away is waited for.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Callable
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, text

from alerts.store import unavailable
from pipeline.errors import StoreUnavailable

CHANNEL = "tocsin_deliveries"
#: Seconds between two tries to listen while Postgres is away.
RETRY_S = 1.0
# Seconds after which a listener looks whether it is to stop, and after which whether its session lives.
_LOOK_EVERY_S, _CHECK_EVERY_S = 0.5, 10.0

log = structlog.get_logger()


def announce(connection: Connection) -> None:
    """Tell every listener when this transaction commits."""
    connection.execute(text("SELECT pg_notify(:channel, '')"), {"channel": CHANNEL})


class Listener(threading.Thread):
    """Calls `wake` for each notice, and whenever it has begun to listen: something may have been queued before."""

    def __init__(self, engine: Engine, wake: Callable[[], None]) -> None:
        super().__init__(name="notices", daemon=True)
        self._engine = engine
        self._wake = wake
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while not self._stop_asked.is_set():
            try:
                with unavailable():
                    self._listen()
            except StoreUnavailable:
                self._stop_asked.wait(RETRY_S)  # whoever sends says so in the log
            except Exception as error:  # whatever it was, those that poll go on
                log.warning("notices_not_heard", kind=type(error).__name__, error=str(error))
                self._stop_asked.wait(10 * RETRY_S)

    def stop(self, timeout_s: float) -> None:
        self._stop_asked.set()
        self.join(timeout_s)

    def _listen(self) -> None:
        """Wake for notices until it is to stop, or its session is gone."""
        # Not of the pool: who listens is the session.
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.detach()
        try:
            connection.execute(text(f"LISTEN {CHANNEL}"))
            self._wake()
            # `driver_connection` is None once it is detached from the pool.
            driver: Any = connection.connection.dbapi_connection
            quiet_s = 0.0
            while not self._stop_asked.is_set():
                if select.select([driver], [], [], _LOOK_EVERY_S)[0]:
                    connection.execute(text("SELECT 1"))  # takes in what has come; raises when the session is gone
                    quiet_s = 0.0
                    if driver.notifies:
                        driver.notifies.clear()
                        self._wake()
                    continue
                quiet_s += _LOOK_EVERY_S
                if quiet_s >= _CHECK_EVERY_S:
                    connection.execute(text("SELECT 1"))
                    quiet_s = 0.0
        finally:
            connection.close()
