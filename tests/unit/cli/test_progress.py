"""What a long command says of how far it is."""

from __future__ import annotations

import sys

import pytest

from pipeline.cli.progress import Progress

_CLEARED = "\r\x1b[2K"


class _Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def test_what_is_quick_says_nothing_and_the_rest_a_line_every_ten_seconds(
    clock: _Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress("score", "texts", clock)
    shown = {}
    for second in range(30):
        clock.now = 1000.0 + second
        progress.update(2000 * second, second / 40)
        if line := _said(capsys):
            shown[second] = line
    progress.close()
    assert shown == {
        2: "score: 4,000 texts (5%), 2,000 a second, 38 s left\n",
        12: "score: 24,000 texts (30%), 2,000 a second, 28 s left\n",
        22: "score: 44,000 texts (55%), 2,000 a second, 18 s left\n",
    }
    assert _said(capsys) == ""


def test_time_before_the_beginning_does_not_count(clock: _Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("training", "texts", clock)
    clock.now += 100
    progress.begin()
    progress.update(1, 0.01)
    assert _said(capsys) == ""
    clock.now += 10
    progress.update(50, 0.5)
    assert _said(capsys) == "training: 50 texts (50%), 5 a second, 10 s left\n"


def test_without_a_size_nothing_is_said_of_the_end(clock: _Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("score", "texts", clock)
    clock.now += 4
    progress.update(4000, None)
    assert _said(capsys) == "score: 4,000 texts, 1,000 a second\n"
    clock.now += 10
    progress.update(0, 0.0)
    assert _said(capsys) == "score: 0 texts (0%), 0 a second\n"


def test_a_file_that_grew_meanwhile_is_never_more_than_read(clock: _Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("score", "texts", clock)
    clock.now += 5
    progress.update(100, 1.2)
    assert _said(capsys) == "score: 100 texts (100%), 20 a second, 0 s left\n"


def test_on_a_terminal_one_line_is_written_again_and_ended_once(
    clock: _Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = Progress("score", "texts", clock)
    progress.close()
    assert _said(capsys) == ""
    for now in (1004.0, 1004.25, 1004.5):
        clock.now = now
        progress.update(int((now - 1000) * 8), None)
    assert _said(capsys) == f"{_CLEARED}score: 32 texts, 8 a second{_CLEARED}score: 36 texts, 8 a second"
    progress.close()
    progress.close()
    assert _said(capsys) == "\n"
