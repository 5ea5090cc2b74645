"""The servers that the local runtime needs: those that the settings name, else its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import structlog
from pydantic import SecretStr
from sqlalchemy import Engine, event, make_url

from pipeline.errors import ServerStartFailed
from pipeline.runtime.datafolder import DataFolder
from pipeline.servers.local_server import LocalServer
from pipeline.servers.postgres import LocalPostgres
from pipeline.servers.valkey import LocalValkey
from pipeline.settings import Settings

log = structlog.get_logger()


@dataclass(slots=True)
class Servers:
    """URLs of Postgres and Redis, as of now, and the servers among them that are Tocsin's own."""

    database_url: SecretStr
    redis_url: SecretStr
    postgres: LocalPostgres | None = None
    valkey: LocalValkey | None = None

    def supervise(self) -> None:
        """Start an own server again when it has died, perhaps on another port. Waits no longer than a start takes."""
        self.database_url = _supervised(self.postgres, self.database_url)
        self.redis_url = _supervised(self.valkey, self.redis_url)

    def follow(self, engine: Engine) -> None:
        """Have an engine connect to where Postgres is by then."""
        if self.postgres is None:
            return

        @event.listens_for(engine, "do_connect")
        def _move(dialect: object, record: object, arguments: object, parameters: dict[str, object]) -> None:
            parameters["port"] = make_url(self.database_url.get_secret_value()).port


def _supervised(server: LocalServer | None, url: SecretStr) -> SecretStr:
    try:
        return url if server is None else SecretStr(server.ensure_running())
    except ServerStartFailed as error:
        log.error("server_start_failed", server=type(server).__name__, error=str(error))
        return url


@contextmanager
def running_servers(settings: Settings, folder: DataFolder) -> Iterator[Servers]:
    """Postgres and Redis for a pipeline, migrated and ready. Raises ServerStartFailed, StoreUnavailable."""
    with ExitStack() as stack:
        postgres = valkey = None
        database_url, redis_url = settings.database_url, settings.redis_url
        if database_url is None:
            postgres = LocalPostgres(folder.postgres)
            database_url = SecretStr(stack.enter_context(postgres.running()))
        if redis_url is None:
            valkey = LocalValkey(folder.valkey)
            redis_url = SecretStr(stack.enter_context(valkey.running()))
        yield Servers(database_url, redis_url, postgres, valkey)


@contextmanager
def running_database(settings: Settings, folder: DataFolder) -> Iterator[SecretStr]:
    """Postgres alone, for a command that looks or changes something."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    with LocalPostgres(folder.postgres).running() as url:
        yield SecretStr(url)
