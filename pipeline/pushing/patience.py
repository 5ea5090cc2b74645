"""Patience: how long a push waits for what is away."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NoReturn

from pipeline.errors import TocsinError

#: Seconds that nothing may answer before a push ends.
PATIENCE_S = 600.0


class Patience:
    """Waits between tries, and says once what it waits for."""

    def __init__(self, say: Callable[[str], None], *, patience_s: float = PATIENCE_S) -> None:
        self._say = say
        self._patience_s = patience_s
        self._since_s: float | None = None

    def wait(self, why: str, pause_s: float) -> None:
        """Wait for the next try. Raises TocsinError when it has been too long."""
        now_s = time.monotonic()
        if self._since_s is None:
            self._since_s = now_s
            self._say(f"{why}; waiting for it")
        if now_s - self._since_s > self._patience_s:
            self.give_up(why)
        time.sleep(pause_s)

    def over(self) -> None:
        """It answers."""
        self._since_s = None

    def give_up(self, why: str) -> NoReturn:
        raise TocsinError(f"{why} for {self._patience_s / 60:.0f} minutes")
