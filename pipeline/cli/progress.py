"""Progress on standard error: what is done, how fast, and how long it will take."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

#: Seconds before the first line: what is quicker needs none.
_PATIENCE_S = 2.0


@dataclass(slots=True)
class Progress:
    """A line that is rewritten on a terminal, else a line every ten seconds."""

    what: str
    unit: str
    clock: Callable[[], float] = time.monotonic
    _began: float = field(init=False)
    _shown: float = field(init=False, default=-math.inf)
    _open: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """What came before says nothing of how fast it goes."""
        self._began = self.clock()

    def update(self, done: int, part: float | None) -> None:
        """So many units are done, which is this part (0 to 1) of the work; None where nobody knows its size."""
        now = self.clock()
        terminal = sys.stderr.isatty()
        if now - self._began < _PATIENCE_S or now - self._shown < (0.5 if terminal else 10):
            return
        self._shown = now
        line = self._line(done, part, now - self._began)
        if terminal:
            print(f"\r\x1b[2K{line}", end="", file=sys.stderr, flush=True)
            self._open = True
        else:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the line, if one is open."""
        if self._open:
            print(file=sys.stderr, flush=True)
            self._open = False

    def _line(self, done: int, part: float | None, elapsed_s: float) -> str:
        rate = f"{done / elapsed_s:,.0f} a second"
        if part is None:
            return f"{self.what}: {done:,} {self.unit}, {rate}"
        part = min(part, 1.0)
        left = f", {elapsed_s * (1 - part) / part:,.0f} s left" if part > 0 else ""
        return f"{self.what}: {done:,} {self.unit} ({part:.0%}), {rate}{left}"
