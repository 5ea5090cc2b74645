"""What commands that look at or change stored things need: settings, a migrated database, the keyring."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import Engine

from alerts.keyring import Keyring
from pipeline.runtime.datafolder import DataFolder
from pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Database:
    """An open database of the configured deployment; on Kafka there is no data folder."""

    settings: Settings
    engine: Engine
    folder: DataFolder | None

    @property
    def keyring(self) -> Keyring:
        """Raises ConfigurationError when there is no key that all workers know."""
        if self.folder is None:
            from pipeline.kafka.database import shared_keyring

            return shared_keyring(self.settings)
        return Keyring(self.settings.secret_key or self.folder.secret_key())


@contextmanager
def database(data: Path | None = None) -> Iterator[Database]:
    """The configured database, migrated; Tocsin's own is started for the time of the command when no `up` runs.

    Raises ConfigurationError, ServerStartFailed, StoreUnavailable.
    """
    from alerts import schema
    from alerts.store import create_engine
    from pipeline.settings import load

    settings = load(data=data)
    with database_of(settings) as (url, folder):
        schema.upgrade(url)
        engine = create_engine(url, pool_size=1)
        try:
            yield Database(settings, engine, folder)
        finally:
            engine.dispose()


@contextmanager
def database_of(settings: Settings) -> Iterator[tuple[SecretStr, DataFolder | None]]:
    """Where the database is, as it is, and the data folder if there is one."""
    from pipeline.servers.servers import running_database

    if settings.kafka:
        from pipeline.kafka.database import database_url

        yield database_url(settings), None
        return
    folder = DataFolder(settings.data)
    with running_database(settings, folder) as url:
        yield url, folder
