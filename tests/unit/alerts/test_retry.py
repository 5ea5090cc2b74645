"""What follows an attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.retry import MAX_ASKED_S, WAITS_S, Decision, asked_wait_s, decide, has_only_failed
from pipeline.instants import HOUR_US

# 2026-01-01 00:00:00 UTC
NOW_US = 1_767_225_600_000_000


@pytest.mark.parametrize("status", [200, 204, 299])
def test_any_2xx_is_success(status: int) -> None:
    assert decide(attempt=1, status=status, asked_s=0, jitter=0) == Decision("delivered")


@pytest.mark.parametrize("status", [None, 100, 199, 300, 301, 302, 307, 308, 400, 404, 429, 500, 503, 999])
def test_anything_else_is_tried_again(status: int | None) -> None:
    assert decide(attempt=1, status=status, asked_s=0, jitter=0).state == "pending"


def test_a_410_ends_the_delivery_and_the_endpoint() -> None:
    assert decide(attempt=1, status=410, asked_s=60, jitter=0) == Decision("exhausted", gone=True)


def test_the_schedule_has_ten_attempts_over_75_hours() -> None:
    waits = [decide(attempt=n, status=500, asked_s=0, jitter=0).wait_s for n in range(1, 10)]
    assert waits == [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]
    assert 75 * 3600 <= sum(waits) <= 76 * 3600
    assert decide(attempt=10, status=500, asked_s=0, jitter=0).state == "exhausted"


@given(st.integers(1, len(WAITS_S)), st.floats(0, 1, exclude_max=True), st.floats(0, 1e12))
def test_a_wait_is_never_shorter_than_scheduled_or_asked_and_never_unbounded(
    attempt: int, jitter: float, asked_s: float
) -> None:
    wait_s = decide(attempt=attempt, status=503, asked_s=asked_s, jitter=jitter).wait_s
    assert wait_s >= WAITS_S[attempt - 1]
    assert wait_s >= min(asked_s, MAX_ASKED_S)
    assert wait_s <= max(1.2 * WAITS_S[attempt - 1], MAX_ASKED_S)


def test_attempts_count_from_one() -> None:
    with pytest.raises(ValueError, match="from 1"):
        decide(attempt=0, status=200, asked_s=0, jitter=0)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("Thu, 01 Jan 2026 00:02:00 GMT", 120.0),
        ("Wed, 31 Dec 2025 23:59:00 GMT", 0.0),
        ("9" * 5000, float(MAX_ASKED_S)),
        ("Thu, 01 Jan 2099 00:00:00 GMT", float(MAX_ASKED_S)),
        ("-1", 0.0),
        ("1.5", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        ("Thu, 01 Jan 2026 00:02:00", 0.0),
        ("Thu, 01 Jan 99999999999 00:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_read_in_both_forms_and_capped(header: str, seconds: float) -> None:
    assert asked_wait_s(header, NOW_US) == seconds


@given(st.text())
def test_no_retry_after_can_make_it_fail(header: str) -> None:
    assert 0.0 <= asked_wait_s(header, NOW_US) <= MAX_ASKED_S


def test_120_hours_of_failures_are_enough() -> None:
    assert not has_only_failed(NOW_US, NOW_US + 120 * HOUR_US - 1)
    assert has_only_failed(NOW_US, NOW_US + 120 * HOUR_US)
