"""The database of a Kafka deployment: all its workers share one, and one key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import SecretStr
from sqlalchemy import Engine

from alerts import schema
from alerts.keyring import HOW, Keyring
from alerts.store import create_engine
from pipeline.errors import ConfigurationError, StoreUnavailable
from pipeline.kafka.worker import Context
from pipeline.settings import Settings

#: Seconds between two tries while Postgres is away.
RETRY_S = 0.5


def database_url(settings: Settings) -> SecretStr:
    """Raises ConfigurationError when none is configured: one that a command runs for itself no other would see."""
    if settings.database_url is None:
        raise ConfigurationError(
            "the workers of a Kafka deployment share a database: set TOCSIN_DATABASE_URL to "
            "postgresql://user:password@host/name, the same for all"
        )
    return settings.database_url


def shared_keyring(settings: Settings) -> Keyring:
    """Raises ConfigurationError when no key is configured: a key file of one machine is no use to the others."""
    if settings.secret_key is None:
        raise ConfigurationError(
            "every `tocsin run deliver` and `tocsin subscribe` of a Kafka deployment needs the same key: set "
            f"TOCSIN_SECRET_KEY ({HOW})"
        )
    return Keyring(settings.secret_key)


@contextmanager
def opened(context: Context, *, pool_size: int) -> Iterator[Engine | None]:
    """The configured database, migrated, until the block ends; None when the worker was stopped before it answered.

    Waits while Postgres is away. Raises ConfigurationError, StateMismatch.
    """
    url = database_url(context.settings)
    engine = create_engine(url, pool_size=pool_size)
    try:
        yield engine if _migrated(context, url) else None
    finally:
        engine.dispose()


def _migrated(context: Context, url: SecretStr) -> bool:
    while not context.stop.is_set():
        try:
            schema.upgrade(url)
        except StoreUnavailable as error:
            context.health.trouble("postgres", str(error))
            context.stop.wait(RETRY_S)
        else:
            context.health.ok("postgres")
            return True
    return False
