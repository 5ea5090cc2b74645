"""The migrations build what the code expects, both ways, also when two processes start at once."""

from __future__ import annotations

import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, inspect, text

from alerts import schema
from alerts.store import create_engine, transaction
from alerts.tables import metadata
from pipeline.errors import ConfigurationError, StateMismatch, StoreUnavailable, UsageError


def _tables(url: str) -> set[str]:
    engine = create_engine(url)
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def test_the_migrated_database_is_what_the_tables_say(empty_database: str) -> None:
    schema.upgrade(empty_database)
    engine = create_engine(empty_database)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        checks = {
            name: {check["name"] for check in inspect(connection).get_check_constraints(name)}
            for name in metadata.tables
        }
    engine.dispose()
    wanted = {
        name: {str(c.name) for c in table.constraints if isinstance(c, CheckConstraint)}
        for name, table in metadata.tables.items()
    }
    assert checks == wanted


def test_going_down_leaves_nothing_and_up_again_works(empty_database: str) -> None:
    schema.upgrade(empty_database)
    schema.downgrade(empty_database, "base")
    assert _tables(empty_database) == {"alembic_version"}
    assert schema.current(empty_database) is None
    schema.upgrade(empty_database)
    assert schema.current(empty_database) == schema.head()
    assert _tables(empty_database) == {*metadata.tables, "alembic_version"}


@pytest.mark.parametrize("revision", ["9999", "head", "+1", "x'; DROP TABLE alerts"])
def test_going_down_to_what_is_no_older_revision_is_refused(database_url: str, revision: str) -> None:
    if revision == "head":
        schema.downgrade(database_url, "0001")
    before = schema.current(database_url)
    with pytest.raises(UsageError, match=r"the revisions are .*0001, base"):
        schema.downgrade(database_url, revision)
    assert schema.current(database_url) == before


def test_a_second_upgrade_changes_nothing(database_url: str) -> None:
    schema.upgrade(database_url)
    assert schema.current(database_url) == schema.head()


def test_processes_that_migrate_at_once_wait_for_each_other(empty_database: str) -> None:
    failures: list[BaseException] = []

    def migrate() -> None:
        try:
            schema.upgrade(empty_database)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=migrate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert schema.current(empty_database) == schema.head()


def test_the_schema_of_a_newer_program_is_not_touched(database_url: str) -> None:
    engine = create_engine(database_url)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StateMismatch, match="9999"):
        schema.upgrade(database_url)


def test_a_server_that_is_not_there_is_store_unavailable() -> None:
    with pytest.raises(StoreUnavailable):
        schema.upgrade("postgresql://nobody:hidden@127.0.0.1:1/none")


@pytest.mark.parametrize("url", ["not a url", "mysql://root:hidden@host/db"])
def test_another_kind_of_url_is_refused_without_printing_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        create_engine(url)
    assert "hidden" not in str(caught.value)
