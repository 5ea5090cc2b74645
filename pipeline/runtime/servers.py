"""The servers that the local runtime needs: those that the settings name, else its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import structlog
from pydantic import SecretStr

from pipeline.errors import ServerStartFailed
from pipeline.runtime.datafolder import DataFolder
from pipeline.runtime.local_server import LocalServer
from pipeline.runtime.postgres import LocalPostgres
from pipeline.runtime.valkey import LocalValkey
from pipeline.settings import Settings

log = structlog.get_logger()


@dataclass(slots=True)
class Servers:
    """URLs of Postgres and Redis, and the servers among them that are Tocsin's own."""

    database_url: SecretStr
    redis_url: SecretStr
    own: list[LocalServer]

    def supervise(self) -> None:
        """Start an own server again when it has died. It waits no longer than a start takes."""
        for server in self.own:
            try:
                server.ensure_running()
            except ServerStartFailed as error:
                log.error("server_start_failed", server=type(server).__name__, error=str(error))


@contextmanager
def running_servers(settings: Settings, folder: DataFolder) -> Iterator[Servers]:
    """Postgres and Redis for a pipeline, migrated and ready. Raises ServerStartFailed, StoreUnavailable."""
    with ExitStack() as stack:
        own: list[LocalServer] = []
        database_url, redis_url = settings.database_url, settings.redis_url
        if database_url is None:
            postgres = LocalPostgres(folder.postgres)
            database_url = SecretStr(stack.enter_context(postgres.running()))
            own.append(postgres)
        if redis_url is None:
            valkey = LocalValkey(folder.valkey)
            redis_url = SecretStr(stack.enter_context(valkey.running()))
            own.append(valkey)
        yield Servers(database_url, redis_url, own)


@contextmanager
def running_database(settings: Settings, folder: DataFolder) -> Iterator[SecretStr]:
    """Postgres alone, for a command that looks or changes something."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    with LocalPostgres(folder.postgres).running() as url:
        yield SecretStr(url)
