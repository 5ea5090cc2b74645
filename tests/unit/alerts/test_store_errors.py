"""Every error of the driver is either Postgres being away, or a bug that must be seen."""

from __future__ import annotations

import psycopg2
import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from alerts.store import unavailable
from pipeline.errors import StoreUnavailable

AWAY = {"OperationalError", "InterfaceError", "InternalError"}
BUGS = {"ProgrammingError", "IntegrityError", "DataError", "NotSupportedError"}
# DatabaseError itself: the driver raises it when the connection breaks in the middle of an answer.
BASES = {"Error", "DatabaseError"}


def driver_errors() -> list[type[psycopg2.Error]]:
    found = [psycopg2.Error]
    for kind in found:
        found += [sub for sub in kind.__subclasses__() if sub.__module__ == "psycopg2"]
    return found


def test_every_error_of_the_driver_has_been_thought_of() -> None:
    assert {kind.__name__ for kind in driver_errors()} == AWAY | BUGS | BASES


@pytest.mark.parametrize("kind", driver_errors(), ids=lambda kind: kind.__name__)
def test_only_errors_that_a_repetition_can_cure_mean_unavailable(kind: type[psycopg2.Error]) -> None:
    wrapped = DBAPIError.instance("SELECT 1", {}, kind("it said no\nDETAIL: hidden"), psycopg2.Error)
    wanted = StoreUnavailable if kind.__name__ in AWAY else type(wrapped)
    with pytest.raises(wanted) as caught, unavailable():
        raise wrapped
    if wanted is StoreUnavailable:
        assert "it said no" in str(caught.value)
        assert "must be called again" in str(caught.value)  # also true of a command that runs once
        assert "hidden" not in str(caught.value)


def test_a_connection_that_broke_means_unavailable() -> None:
    broken = DBAPIError("SELECT 1", {}, psycopg2.DatabaseError("server closed"), connection_invalidated=True)
    with pytest.raises(StoreUnavailable), unavailable():
        raise broken


def test_a_pool_without_a_free_connection_means_unavailable() -> None:
    with pytest.raises(StoreUnavailable), unavailable():
        raise PoolTimeout("all are in use")
