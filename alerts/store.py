"""The door to Postgres: engine and transactions. Driver errors stop here.

A lost, refusing, overloaded or read-only Postgres is `StoreUnavailable`: the caller waits and repeats what it
did, which is safe because everything stored through this project is idempotent. Errors that a repetition
cannot cure (a missing table, a violated constraint) are bugs, or a database that was not migrated, and pass
through unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import SecretStr
from sqlalchemy import Connection, Engine
from sqlalchemy import create_engine as sqlalchemy_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from pipeline.errors import ConfigurationError, StoreUnavailable

#: Seconds until a server that does not answer counts as gone.
CONNECT_TIMEOUT_S = 5
#: Seconds that one statement may take: the largest, a checkpoint of fold states, takes a few.
STATEMENT_TIMEOUT_S = 60


def create_engine(url: str | SecretStr, *, pool_size: int = 5) -> Engine:
    """An engine for `postgresql://...`; opens no connection yet. Raises ConfigurationError for another URL.

    No call waits for ever: connecting, waiting for a lock, a statement and a silent network are all bounded,
    and a transaction left idle is ended by the server.
    """
    secret = url.get_secret_value() if isinstance(url, SecretStr) else url
    try:
        parsed = make_url(secret)
    except ArgumentError:
        raise ConfigurationError("the database URL is not one; write postgresql://user:password@host/name") from None
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise ConfigurationError(
            f"the database URL begins with {parsed.drivername}://; Tocsin needs postgresql://user:password@host/name"
        )
    return sqlalchemy_engine(
        parsed.set(drivername="postgresql+psycopg2"),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=CONNECT_TIMEOUT_S,
        pool_pre_ping=True,
        hide_parameters=True,  # payloads must not reach a log through an error message
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
            "application_name": "tocsin",
            "options": (
                f"-c statement_timeout={STATEMENT_TIMEOUT_S}s -c lock_timeout=20s "
                f"-c idle_in_transaction_session_timeout={STATEMENT_TIMEOUT_S}s -c timezone=UTC"
            ),
        },
    )


def is_unavailable(error: SQLAlchemyError) -> bool:
    """Whether repeating later can cure this error."""
    if isinstance(error, (OperationalError, InterfaceError, InternalError, PoolTimeout)):
        return True  # InternalError: a standby that took over is read-only for a while
    return isinstance(error, DBAPIError) and error.connection_invalidated


@contextmanager
def unavailable() -> Iterator[None]:
    """Turns driver errors within into StoreUnavailable."""
    try:
        yield
    except SQLAlchemyError as error:
        if not is_unavailable(error):
            raise
        cause = getattr(error, "orig", None) or error
        first_line = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise StoreUnavailable(
            f"Postgres does not answer ({first_line}); what runs goes on by itself when it does, any other command "
            "must be called again"
        ) from error


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """One transaction: committed at the end, rolled back by any exception.

    Raises StoreUnavailable. After one from the commit itself it is not known whether the transaction holds:
    repeat it, everything stored is idempotent.
    """
    with unavailable(), engine.begin() as connection:
        yield connection
