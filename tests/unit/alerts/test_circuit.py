"""An endpoint gets as much of the worker as it has earned."""

from __future__ import annotations

from alerts.circuit import FIRST_PAUSE_S, FIRST_WINDOW, MAX_PAUSE_S, MAX_WINDOW, OPEN_AFTER, Circuit


def ended(circuit: Circuit, success: bool, now_s: float, duration_s: float = 0.1, asked_s: float = 0.0) -> None:
    circuit.began()
    circuit.ended(success=success, duration_s=duration_s, asked_s=asked_s, now_s=now_s)


def test_the_window_grows_with_prompt_successes_up_to_its_bound() -> None:
    circuit = Circuit()
    assert circuit.free(0.0) == FIRST_WINDOW
    ended(circuit, True, 0.0)
    assert circuit.free(0.0) == 2 * FIRST_WINDOW
    for _ in range(10):
        ended(circuit, True, 0.0)
    assert circuit.free(0.0) == MAX_WINDOW


def test_what_is_under_way_counts() -> None:
    circuit = Circuit()
    circuit.began()
    assert circuit.free(0.0) == FIRST_WINDOW - 1


def test_a_receiver_that_drips_does_not_earn_a_larger_window() -> None:
    circuit = Circuit()
    ended(circuit, True, 0.0, duration_s=14.0)
    assert circuit.free(0.0) == FIRST_WINDOW


def test_a_failure_leaves_one_attempt_at_a_time() -> None:
    circuit = Circuit(window=MAX_WINDOW)
    ended(circuit, False, 0.0)
    assert circuit.free(0.0) == 1


def test_the_circuit_opens_after_failures_in_a_row_and_pauses_longer_with_each_failed_probe() -> None:
    circuit = Circuit()
    for _ in range(OPEN_AFTER):
        assert circuit.free(0.0) >= 1
        ended(circuit, False, 0.0)
    assert circuit.free(FIRST_PAUSE_S - 0.1) == 0
    assert circuit.free(FIRST_PAUSE_S) == 1
    ended(circuit, False, FIRST_PAUSE_S)
    assert circuit.free(2.9 * FIRST_PAUSE_S) == 0
    assert circuit.free(3 * FIRST_PAUSE_S) == 1
    now_s = 100.0
    for _ in range(2000):
        ended(circuit, False, now_s)
        now_s += MAX_PAUSE_S
        assert circuit.free(now_s) == 1


def test_failures_that_were_under_way_when_it_opened_do_not_lengthen_the_pause() -> None:
    circuit = Circuit(window=MAX_WINDOW)
    for _ in range(MAX_WINDOW):
        circuit.began()
    for _ in range(MAX_WINDOW):
        circuit.ended(success=False, duration_s=15.0, asked_s=0.0, now_s=0.0)
    assert circuit.free(FIRST_PAUSE_S) == 1


def test_a_success_closes_it() -> None:
    circuit = Circuit(failures=OPEN_AFTER, window=1)
    ended(circuit, True, 0.0)
    ended(circuit, False, 0.0)
    assert circuit.free(0.0) == 1


def test_a_receiver_that_asks_for_a_pause_gets_it() -> None:
    circuit = Circuit()
    ended(circuit, False, 0.0, asked_s=30.0)
    assert circuit.free(29.0) == 0
    assert circuit.free(30.0) == 1
