"""The database schema: up, down and which one is there.

Delivery: a migration runs in one transaction: it is applied whole or not at all.
Ordering: processes that migrate at once wait for each other (an advisory lock of the transaction).
Idempotence: `upgrade` of a database that is up to date changes nothing.
Raises: StoreUnavailable; StateMismatch when a newer Tocsin has migrated the database.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from pydantic import SecretStr
from sqlalchemy import Connection, text

import migrations
from alerts.store import create_engine, transaction
from pipeline.errors import StateMismatch, UsageError

#: Any number that no other program uses on the same database: "tocsin" on a telephone.
LOCK = 862746


def _configuration() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__path__[0])).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _locked(url: str | SecretStr, work: Callable[[Config], None]) -> None:
    engine = create_engine(url, pool_size=1)
    try:
        with transaction(engine) as connection:
            # Two processes that start at once: the second waits for the first, however long it migrates.
            connection.execute(text("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            config = _configuration()
            config.attributes["connection"] = connection
            _check_known(connection, config)
            work(config)
    finally:
        engine.dispose()


def _check_known(connection: Connection, config: Config) -> None:
    revision = _revision(connection)
    if revision is None:
        return
    try:
        ScriptDirectory.from_config(config).get_revision(revision)
    except CommandError:
        raise StateMismatch(
            f"the database has schema {revision}, which this Tocsin does not know: a newer one has migrated it; "
            "run that one"
        ) from None


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(url: str | SecretStr, revision: str = "head") -> None:
    """Bring the database to `revision`, the newest by default."""
    _locked(url, lambda config: command.upgrade(config, revision))


def downgrade(url: str | SecretStr, revision: str) -> None:
    """Take the database back to `revision` ("base": nothing left). Data that it has no place for is lost.

    Raises UsageError for a revision that is none, or is newer than what the database has.
    """

    def down(config: Config) -> None:
        try:
            command.downgrade(config, revision)
        except CommandError as error:
            known = ", ".join(script.revision for script in ScriptDirectory.from_config(config).walk_revisions())
            raise UsageError(f"{error}; the revisions are {known}, base") from None

    _locked(url, down)


def current(url: str | SecretStr) -> str | None:
    """The revision that the database has; None when it was never migrated."""
    engine = create_engine(url, pool_size=1)
    try:
        with transaction(engine) as connection:
            return _revision(connection)
    finally:
        engine.dispose()


def head() -> str:
    """The newest revision that this program knows."""
    revision = ScriptDirectory.from_config(_configuration()).get_current_head()
    assert revision is not None
    return revision
