"""Notices: who sends deliveries is woken by the transaction that queued them, not by its next look."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, text

from alerts.notices import Listener, announce
from alerts.store import transaction

WAIT_S = 20.0


class _Woken:
    """Counts, and waits for a count."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._times = 0

    def __call__(self) -> None:
        with self._changed:
            self._times += 1
            self._changed.notify_all()

    def times(self, wanted: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._times >= wanted, WAIT_S)


@contextmanager
def _listening(engine: Engine) -> Iterator[_Woken]:
    woken = _Woken()
    listener = Listener(engine, woken)
    listener.start()
    try:
        assert woken.times(1), "it wakes when it has begun to listen"
        yield woken
    finally:
        listener.stop(WAIT_S)
        assert not listener.is_alive()


def test_a_notice_wakes_when_its_transaction_commits(engine: Engine) -> None:
    with _listening(engine) as woken:
        with transaction(engine) as connection:
            announce(connection)
        assert woken.times(2)


def test_a_transaction_that_is_rolled_back_wakes_nobody(engine: Engine) -> None:
    with _listening(engine) as woken:
        with engine.connect() as connection:
            announce(connection)
            connection.rollback()
        with transaction(engine) as connection:
            announce(connection)
        assert woken.times(2)
        assert woken._times == 2


def test_a_listener_whose_session_is_gone_listens_again(engine: Engine) -> None:
    with _listening(engine) as woken:
        with transaction(engine) as connection:
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'")
            )
        assert woken.times(2)
        with transaction(engine) as connection:
            announce(connection)
        assert woken.times(3)
