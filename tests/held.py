"""An engine that can be held up."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from pipeline.scoring.engine import Score, Tokens
from pipeline.scoring.null_engine import NullEngine


class Held(NullEngine):
    """An engine that waits until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()

    def score(self, batch: Sequence[Tokens]) -> list[Score]:
        self.entered.set()
        assert self.let_go.wait(20)
        return super().score(batch)
