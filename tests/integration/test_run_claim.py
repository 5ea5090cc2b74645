"""The claim on a run: one data folder and one process, also after Postgres was away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from structlog.testing import capture_logs

import pipeline.runtime.run_claim
from alerts.owners import check_owner, kafka_owner
from alerts.store import create_engine, transaction
from pipeline.errors import ConfigurationError, StoreUnavailable
from pipeline.runtime.datafolder import DataFolder
from pipeline.runtime.run_claim import claim_run


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.runtime.run_claim, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(pipeline.runtime.run_claim, "RETRY_S", 0.01)


@pytest.fixture
def other(database_url: str) -> Iterator[Engine]:
    """The engine of another process."""
    made = create_engine(database_url)
    yield made
    made.dispose()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def holders(engine: Engine) -> set[int]:
    """The sessions that hold a claim in this database."""
    with transaction(engine) as connection:
        return set(
            connection.execute(
                text(
                    "SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database "
                    "WHERE locktype = 'advisory' AND granted AND datname = current_database()"
                )
            ).scalars()
        )


def kill(engine: Engine, pid: int) -> None:
    with transaction(engine) as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})


def test_another_data_folder_is_refused_for_ever(engine: Engine, other: Engine) -> None:
    refused = pytest.raises(ConfigurationError, match=r"folder\.id begins with first; set TOCSIN_DATA")
    with claim_run(engine, "live", "first"), refused, claim_run(other, "live", "second"):
        pass
    with refused, claim_run(other, "live", "second"):  # also when the first one has ended, and at once
        pass


def test_the_database_of_a_kafka_deployment_is_refused(engine: Engine) -> None:
    with transaction(engine) as connection:
        check_owner(connection, "live", kafka_owner("cluster", "tocsin"))
    with (
        pytest.raises(ConfigurationError, match=r"prefix tocsin on the cluster cluster; `tocsin up` needs one of its"),
        claim_run(engine, "live", "first"),
    ):
        pass


def test_a_copy_of_the_folder_is_refused_while_the_first_process_runs(engine: Engine, other: Engine) -> None:
    with (
        claim_run(engine, "live", "same"),
        pytest.raises(ConfigurationError, match="TOCSIN_DATABASE_URL"),
        claim_run(other, "live", "same", wait_s=0.05),
    ):
        pass
    with claim_run(other, "live", "same", wait_s=0):
        assert len(holders(other)) == 1
    until(lambda: holders(other) == set())  # the server notices the end of a session a moment later


def test_a_claim_waits_for_the_end_of_the_one_before(engine: Engine, other: Engine) -> None:
    first = claim_run(engine, "live", "same")
    first.__enter__()
    taken = threading.Event()

    def second() -> None:
        with claim_run(other, "live", "same", wait_s=10):
            taken.set()

    thread = threading.Thread(target=second)
    thread.start()
    assert not taken.wait(0.05)
    first.__exit__(None, None, None)
    assert taken.wait(10)
    thread.join()


def test_two_runs_are_not_in_each_others_way(engine: Engine, other: Engine) -> None:
    with claim_run(engine, "live", "first"), claim_run(other, "trial", "second", wait_s=0):
        assert len(holders(engine)) == 2


def test_the_lock_is_taken_again_when_its_session_has_died(engine: Engine, other: Engine) -> None:
    with claim_run(engine, "live", "same") as claim:
        (first,) = holders(other)
        kill(other, first)
        until(lambda: bool(holders(other) - {first}))
        assert claim.trouble == ""
        with (
            pytest.raises(ConfigurationError, match="another Tocsin runs on this database"),
            claim_run(other, "live", "same", wait_s=0),
        ):
            pass


def test_a_lock_that_another_got_meanwhile_is_told_and_taken_back(engine: Engine, other: Engine) -> None:
    with claim_run(engine, "live", "same") as claim:
        lock = "pg_advisory_lock(classid::int, objid::int) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        with other.connect() as rival, capture_logs() as logs:
            # The rival waits for the lock in the database, so it is the first to get it.
            waiting = threading.Thread(target=lambda: rival.execute(text(f"SELECT {lock}")))
            (first,) = holders(other)
            waiting.start()
            with other.connect() as looking:
                until(
                    lambda: (
                        bool(looking.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))
                        or not waiting.is_alive()
                    )
                )
            kill(other, first)
            waiting.join()
            until(lambda: "another Tocsin runs on this database" in claim.trouble)
            rival.rollback()
            rival.execute(text("SELECT pg_advisory_unlock_all()"))
            until(lambda: claim.trouble == "")
        assert [entry["event"] for entry in logs] == ["run_claim_lost", "run_claim_back"]


def test_a_server_that_is_not_there_is_store_unavailable() -> None:
    engine = create_engine("postgresql://nobody:hidden@127.0.0.1:1/none")
    with pytest.raises(StoreUnavailable), claim_run(engine, "live", "x"):
        pass
    engine.dispose()


def test_a_folder_keeps_its_id_and_another_has_another(tmp_path: Path) -> None:
    first = DataFolder(tmp_path / "a").id()
    assert DataFolder(tmp_path / "a").id() == first
    assert DataFolder(tmp_path / "b").id() != first
    assert (tmp_path / "a" / "folder.id").stat().st_mode & 0o777 == 0o600
