"""The claim on a run: one data folder, and one process, may write what a database holds of it.

Positions in the database point into one data folder. Two processes with different folders on one database would
overwrite each other's positions, so the database remembers the folder's id, and a session of its own holds an
advisory lock while the process lives. A session that died with its machine is noticed by the server within half a
minute, which is as long as a new claim waits.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.dialects.postgresql import insert

from alerts.schema import LOCK
from alerts.store import unavailable
from alerts.tables import runs
from pipeline.errors import ConfigurationError, StoreUnavailable

log = structlog.get_logger()

_HELD = (
    "another Tocsin runs on this database, with a copy of this data folder; stop it, or set TOCSIN_DATABASE_URL to "
    "another database"
)

#: Seconds that a claim waits for one before it.
WAIT_S = 30.0
#: Seconds between two looks at the session that holds the lock.
LOOK_EVERY_S = 2.0
#: Seconds between two tries to get the lock.
RETRY_S = 0.2
# The server must notice a dead client soon: its default is two hours. Without a meaning on a Unix socket.
_KEEPALIVE = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"


class RunClaim:
    """A claim that is held; made by `claim_run`."""

    def __init__(self, engine: Engine, run: str, folder_id: str) -> None:
        self._engine = engine
        self._run = run
        self._folder_id = folder_id
        self._connection: Connection | None = None
        #: Why it is held no longer, in one line; empty while it is, and while Postgres is away.
        self.trouble = ""

    def take(self) -> bool:
        """Take it now; False when another process holds it. Raises ConfigurationError for the run of another data
        folder, StoreUnavailable."""
        with unavailable():
            # Not of the pool: the lock is the session's.
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()
            try:
                self._check_folder(connection)
                connection.execute(text(_KEEPALIVE))
                lock = {"lock": LOCK, "run": zlib.crc32(self._run.encode()) - 2**31}
                held = bool(connection.scalar(text("SELECT pg_try_advisory_lock(:lock, :run)"), lock))
            except BaseException:
                connection.close()
                raise
        if held:
            self._connection = connection
        else:
            connection.close()
        return held

    def look(self) -> None:
        """Take it again if its session has died."""
        if self._connection is not None:
            try:
                with unavailable():
                    self._connection.execute(text("SELECT 1"))
                return
            except StoreUnavailable:
                self.release()
        try:
            trouble = "" if self.take() else _HELD
        except StoreUnavailable:
            return
        except ConfigurationError as error:
            trouble = str(error)
        if trouble and not self.trouble:
            log.error("run_claim_lost", run=self._run, error=trouble)
        elif self.trouble and not trouble:
            log.info("run_claim_back", run=self._run)
        self.trouble = trouble

    def release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _check_folder(self, connection: Connection) -> None:
        """Raises ConfigurationError when the run belongs to another data folder; the first one has it."""
        mine = {"run": self._run, "folder": self._folder_id}
        connection.execute(insert(runs).values(mine).on_conflict_do_nothing())
        folder = connection.scalar(select(runs.c.folder).where(runs.c.run == self._run))
        if folder != self._folder_id:
            raise ConfigurationError(
                f"the database belongs to another data folder, whose folder.id begins with {str(folder)[:8]}; set "
                "TOCSIN_DATA to that folder, or TOCSIN_DATABASE_URL to another database (if this folder was restored "
                "from that one's backup, restore its folder.id too)"
            )


@contextmanager
def claim_run(engine: Engine, run: str, folder_id: str, *, wait_s: float = WAIT_S) -> Iterator[RunClaim]:
    """Be the only one on a run of this database until the block ends, for the data folder with this id.

    The lock is taken again when Postgres was away; `trouble` says when another was faster. Raises ConfigurationError
    when the run belongs to another data folder, or when another process holds it for longer than `wait_s`;
    StoreUnavailable.
    """
    claim = RunClaim(engine, run, folder_id)
    deadline = time.monotonic() + wait_s
    while not claim.take():
        if time.monotonic() >= deadline:
            raise ConfigurationError(_HELD)
        time.sleep(RETRY_S)
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(LOOK_EVERY_S):
            try:
                claim.look()
            except Exception as error:  # the next look may work
                log.warning("run_claim_not_checked", kind=type(error).__name__, error=str(error))

    thread = threading.Thread(target=watch, name="run claim", daemon=True)
    thread.start()
    try:
        yield claim
    finally:
        stop.set()
        thread.join()
        claim.release()
