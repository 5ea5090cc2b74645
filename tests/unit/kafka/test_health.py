"""Health: what is waited for, told once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from structlog.testing import capture_logs

from pipeline.kafka.health import Health


def test_a_dependency_is_in_trouble_until_it_answers_again() -> None:
    health = Health("score")
    assert health.states() == {}
    health.ok("classifier")
    health.trouble("kafka", "no broker answers")
    assert health.states() == {"classifier": "ok", "kafka": "no broker answers"}
    health.trouble("kafka", "")
    assert health.states()["kafka"] == "unavailable"
    health.ok("kafka")
    assert health.states() == {"classifier": "ok", "kafka": "ok"}


def test_each_change_of_state_is_one_line_however_often_it_is_told() -> None:
    health = Health("score")
    with capture_logs() as lines:
        for _ in range(3):
            health.ok("kafka")
        for n in range(100):
            health.trouble("kafka", f"attempt {n} failed")
        for _ in range(3):
            health.ok("kafka")
    assert [(line["event"], line["log_level"], line["dependency"]) for line in lines] == [
        ("dependency_unavailable", "warning", "kafka"),
        ("dependency_available", "info", "kafka"),
    ]
    assert (lines[0]["worker"], lines[0]["error"]) == ("score", "attempt 0 failed")


def test_many_threads_that_tell_the_same_are_one_line() -> None:
    health = Health("score")
    with capture_logs() as lines, ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: health.trouble("postgres", f"{n}"), range(200)))
    assert len(lines) == 1


def test_what_was_asked_for_does_not_change_any_more() -> None:
    health = Health("score")
    health.ok("kafka")
    states = health.states()
    health.trouble("kafka", "away")
    assert states == {"kafka": "ok"}
