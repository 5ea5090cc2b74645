"""A pipeline in this process, on a real Postgres, that tests push to and look into."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr
from sqlalchemy import Row, Table, select

from alerts import tables
from alerts.store import create_engine, transaction
from pipeline.records import Transition, decode
from pipeline.runtime.local import LocalRuntime, running
from pipeline.scoring.engine import Engine
from pipeline.scoring.null_engine import NullEngine
from pipeline.settings import Settings
from pipeline.stream_file import parse

FATES = ("counted", "late", "duplicates", "dead")


class Live:
    """Starts and stops pipelines on one data folder and one database. Redis is away: only speed is lost."""

    def __init__(self, folder: Path, database_url: str, streams: str) -> None:
        self.folder = folder
        self.database_url = database_url
        self.streams = streams
        self.runtime: LocalRuntime | None = None

    @contextmanager
    def up(self, load: Callable[[], Engine] | None = None) -> Iterator[Live]:
        settings = Settings(
            data=self.folder / "data",
            database_url=SecretStr(self.database_url),
            redis_url=SecretStr("redis://127.0.0.1:1"),
            port=0,
            checkpoint_s=0.02,
        )
        with running(settings, parse(self.streams, "streams.toml"), load or NullEngine) as self.runtime:
            yield self

    def post(self, path: str, content: bytes, **headers: str) -> httpx.Response:
        assert self.runtime is not None
        return httpx.post(
            f"{self.runtime.url}{path}",
            content=content,
            headers={"content-type": "application/x-ndjson"} | {k.replace("_", "-"): v for k, v in headers.items()},
            timeout=30,
            trust_env=False,
        )

    def push(self, *items: bytes | Mapping[str, object], stream: str = "logs") -> int:
        """Push items as lines; how many were accepted."""
        lines = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in items]
        answer = self.post(f"/v1/items?stream={stream}", b"\n".join(lines))
        assert answer.status_code == 202, answer.text
        return int(answer.json()["accepted"])

    def heartbeat(self, at: str, stream: str = "logs") -> None:
        answer = self.post("/v1/heartbeats", json.dumps({"stream": stream, "time": at}).encode())
        assert answer.status_code == 202, answer.text

    def folded(self) -> None:
        """Wait until everything that was accepted is folded and stored."""
        assert self.runtime is not None
        runtime = self.runtime
        until(lambda: runtime.error is not None or (runtime.behind() == 0 and runtime.stored()))
        assert runtime.error is None, runtime.error

    def rows(self, table: Table) -> Sequence[Row[Any]]:
        engine = create_engine(self.database_url, pool_size=1)
        try:
            with transaction(engine) as connection:
                return connection.execute(select(table)).all()
        finally:
            engine.dispose()

    def counts(self) -> dict[str, int]:
        """What was accepted and what became of it, over all partitions."""
        rows = self.rows(tables.positions)
        return {name: sum(getattr(row, name) for row in rows) for name in ("accepted", *FATES)}

    def transitions(self) -> list[Transition]:
        rows = self.rows(tables.transitions)
        return [decode(bytes(row.encoded), Transition) for row in rows if row.tick is not None]


def until(condition: Callable[[], object], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
