"""What commands that look at or change stored things need: settings, a migrated database, the keyring."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from alerts.keyring import Keyring
from pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Database:
    """An open database of the configured deployment."""

    settings: Settings
    engine: Engine
    keyring: Keyring


@contextmanager
def database(data: Path | None = None) -> Iterator[Database]:
    """The configured database, migrated; Tocsin's own is started for the time of the command when no `up` runs.

    Raises ConfigurationError, ServerStartFailed, StoreUnavailable.
    """
    from alerts import schema
    from alerts.store import create_engine
    from pipeline.runtime.datafolder import DataFolder
    from pipeline.servers.servers import running_database
    from pipeline.settings import load

    settings = load(data=data)
    folder = DataFolder(settings.data)
    with running_database(settings, folder) as url:
        schema.upgrade(url)
        engine = create_engine(url, pool_size=1)
        try:
            yield Database(settings, engine, Keyring(settings.secret_key or folder.secret_key()))
        finally:
            engine.dispose()
