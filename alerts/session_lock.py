"""A lock of one Postgres session: at most one process holds it, and it ends with the process, however it ends.

A session that died with its machine is noticed by the server within half a minute; so is, on request, that of a
process that is frozen.
Raises: StoreUnavailable.
"""

from __future__ import annotations

import zlib

from sqlalchemy import Connection, Engine, text

from alerts.schema import LOCK
from alerts.store import unavailable
from pipeline.errors import StoreUnavailable

# The server must notice a dead client soon: its default is two hours. Without a meaning on a Unix socket.
_KEEPALIVE = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"


class SessionLock:
    """The lock of a name in a database. `frozen_s`: the server ends a session that is silent for so long."""

    def __init__(self, engine: Engine, name: str, *, frozen_s: int | None = None) -> None:
        self._engine = engine
        self._key = {"lock": LOCK, "name": zlib.crc32(name.encode()) - 2**31}
        self._settings = _KEEPALIVE + (f"; SET idle_session_timeout = '{frozen_s}s'" if frozen_s is not None else "")
        self._connection: Connection | None = None

    def take(self) -> bool:
        """Take it now; False when another process holds it."""
        with unavailable():
            # Not of the pool: the lock is the session's.
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()
            try:
                connection.execute(text(self._settings))
                held = bool(connection.scalar(text("SELECT pg_try_advisory_lock(:lock, :name)"), self._key))
            except BaseException:
                connection.close()
                raise
        if held:
            self._connection = connection
        else:
            connection.close()
        return held

    def held(self) -> bool:
        """Whether its session lives. Raises nothing: a session that cannot be asked has gone, and the lock with it."""
        if self._connection is None:
            return False
        try:
            with unavailable():
                self._connection.execute(text("SELECT 1"))
            return True
        except StoreUnavailable:
            self.release()
            return False

    def release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
