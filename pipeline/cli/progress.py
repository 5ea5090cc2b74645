"""Progress on standard error: what is done, how fast, and how long it will take."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Progress:
    """Shows progress from the second second on: a line that is rewritten on a terminal, else one every ten
    seconds. `total` in the same unit as `done`, 0 when it is not known."""

    what: str
    total: float = 0
    unit: str = "items"
    _began: float = field(default_factory=time.monotonic)
    _shown: float = 0.0
    _open: bool = False

    def update(self, done: float, note: str = "") -> None:
        """Say how far it is; `done` counts from 0 to `total`."""
        now = time.monotonic()
        terminal = sys.stderr.isatty()
        if now - self._began < 2 or now - self._shown < (0.5 if terminal else 10):
            return
        self._shown = now
        line = self._line(done, now) + (f"  {note}" if note else "")
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

    def _line(self, done: float, now: float) -> str:
        rate = done / (now - self._began)
        parts = [f"{self.what}: {done:,.0f}"]
        if self.total:
            parts[0] += f" of {self.total:,.0f} {self.unit} ({100 * done / self.total:.0f} %)"
        else:
            parts[0] += f" {self.unit}"
        parts.append(f"{rate:,.0f} a second")
        if self.total and rate > 0:
            parts.append(f"{max(0.0, self.total - done) / rate:,.0f} s left")
        return ", ".join(parts)
