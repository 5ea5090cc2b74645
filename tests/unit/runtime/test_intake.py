"""Intake: whatever a source does, its thread goes on and people are told."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pipeline.errors import JournalFull
from pipeline.runtime import intake as intake_module
from pipeline.runtime.intake import Intake
from pipeline.streams import Definition, SourceDefinition

SOURCE = SourceDefinition(name="files", kind="directory", path="/nowhere")
STREAM = Definition(name="s", kind="logs", tick_us=60_000_000, sources=(SOURCE,), clocks=("s/files",))


class Poll:
    """A source that does what it is told, then is well."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.well = threading.Event()

    def complete_until(self, now_us: int) -> int | None:
        return now_us

    def once(self) -> float:
        if self._errors:
            raise self._errors.pop(0)
        self.well.set()
        return 60.0


@pytest.mark.parametrize(
    ("error", "event"),
    [(JournalFull(), "source_unavailable"), (OSError(5), "source_unavailable"), (KeyError("x"), "source_failed")],
)
def test_a_source_that_fails_is_told_of_once_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, event: str
) -> None:
    poll = Poll(error, error)
    monkeypatch.setattr(intake_module, "RETRY_S", 0.0)
    monkeypatch.setattr(intake_module, "_poll_of", lambda *_: poll)
    monkeypatch.setattr(intake_module, "partition_of", lambda *_: "s/files")
    with capture_logs() as logs:
        intake = Intake({"s": STREAM}, {"s/files": object()})  # type: ignore[arg-type]
        intake.start()
        try:
            assert poll.well.wait(10)
        finally:
            intake.stop(10)
    assert [entry["event"] for entry in logs] == [event, "source_available"]
    assert intake.complete_until("s/files", 7) == 7
    if event == "source_failed":
        assert (logs[0]["kind"], logs[0]["partition"]) == ("KeyError", "s/files")
