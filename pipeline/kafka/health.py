"""Health: what a worker depends on, and whether it is there. One log line a change of state."""

from __future__ import annotations

import threading

import structlog

log = structlog.get_logger()


class Health:
    """The states of a worker's dependencies, by name ("kafka", "postgres", "classifier"). Safe from any thread."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._states: dict[str, str] = {}
        self._lock = threading.Lock()

    def ok(self, dependency: str) -> None:
        """It answers."""
        self._change(dependency, "ok")

    def trouble(self, dependency: str, why: str) -> None:
        """It is waited for; `why` in one line."""
        self._change(dependency, why or "unavailable")

    def states(self) -> dict[str, str]:
        """Each dependency with "ok", or why it is waited for."""
        with self._lock:
            return dict(self._states)

    def _change(self, dependency: str, state: str) -> None:
        with self._lock:
            before = self._states.get(dependency)
            self._states[dependency] = state
        if state != "ok" and before in (None, "ok"):
            log.warning("dependency_unavailable", worker=self._worker, dependency=dependency, error=state)
        elif state == "ok" and before not in (None, "ok"):
            log.info("dependency_available", worker=self._worker, dependency=dependency)
