"""Who waits for deliveries hears at once that some were queued, also after Postgres was away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, text

from alerts import dispatcher, notices, tables
from alerts.notices import Listener
from alerts.store import create_engine, transaction
from pipeline.instants import to_datetime
from pipeline.records import Transition

MakeSurge = Callable[..., Transition]
WAIT_S = 20.0


class Woken:
    """Counts how often it was woken, and waits for the next time."""

    def __init__(self) -> None:
        self._woken = threading.Semaphore(0)

    def wake(self) -> None:
        self._woken.release()

    def within(self, wait_s: float) -> bool:
        return self._woken.acquire(timeout=wait_s)


@contextmanager
def listening(engine: Engine) -> Iterator[Woken]:
    woken = Woken()
    listener = Listener(engine, woken.wake)
    listener.start()
    try:
        assert woken.within(WAIT_S)  # it listens
        yield woken
    finally:
        listener.stop(WAIT_S)
        assert not listener.is_alive()


@pytest.fixture
def subscribed(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(
            tables.subscriptions.insert().values(
                id="all", url="https://hooks.example/", states=["opened"], secret=b"", created_at=to_datetime(0)
            )
        )


@pytest.mark.usefixtures("subscribed")
def test_a_delivery_that_is_queued_wakes_the_listener_when_its_transaction_commits(
    engine: Engine, surge: MakeSurge
) -> None:
    with listening(engine) as woken:
        with transaction(engine) as connection:
            dispatcher.store(connection, [surge()], 0)
            assert not woken.within(0.1)
        assert woken.within(WAIT_S)


@pytest.mark.usefixtures("subscribed")
def test_what_nobody_wants_or_is_stored_already_wakes_nobody(engine: Engine, surge: MakeSurge) -> None:
    with transaction(engine) as connection:
        dispatcher.store(connection, [surge()], 0)
    with listening(engine) as woken:
        with transaction(engine) as connection:
            dispatcher.store(connection, [surge(), surge(sequence=2, state="grew")], 0)
        assert not woken.within(0.2)


def test_a_listener_whose_session_died_listens_again_and_wakes_once_for_what_it_missed(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "RETRY_S", 0.01)
    other = create_engine(database_url)
    with listening(engine) as woken:
        with transaction(other) as connection:
            mine = text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND query LIKE 'LISTEN %'"
            )
            assert connection.execute(mine).scalars().all() == [True]
        assert woken.within(WAIT_S)
        with transaction(other) as connection:
            notices.announce(connection)
        assert woken.within(WAIT_S)
    other.dispose()
