"""The claim on a run: one data folder, and one process, may write what a database holds of it.

Positions in the database point into one data folder. Two processes with different folders on one database would
overwrite each other's positions, so the database remembers the folder's id, and a session of its own holds an
advisory lock while the process lives. A session that died with its machine is noticed by the server within half a
minute, which is as long as a new claim waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy import Engine

from alerts.owners import check_owner
from alerts.session_lock import SessionLock
from alerts.store import transaction
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


class RunClaim:
    """A claim that is held; made by `claim_run`."""

    def __init__(self, engine: Engine, run: str, folder_id: str) -> None:
        self._engine = engine
        self._run = run
        self._folder_id = folder_id
        self._lock = SessionLock(engine, run)
        #: Why it is held no longer, in one line; empty while it is, and while Postgres is away.
        self.trouble = ""

    def take(self) -> bool:
        """Take it now; False when another process holds it. Raises ConfigurationError for the run of another data
        folder, StoreUnavailable."""
        with transaction(self._engine) as connection:
            check_owner(connection, self._run, self._folder_id)
        return self._lock.take()

    def look(self) -> None:
        """Take it again if its session has died."""
        if self._lock.held():
            return
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
        self._lock.release()


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
