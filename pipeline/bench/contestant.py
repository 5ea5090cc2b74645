"""A contestant of the bench of scoring: a process of its own, so that neither threads nor memory are shared."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

from pipeline.errors import ModelError, TocsinError

_STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run of texts gave: seconds by the clock on the wall, all in all and for two parts of it, seconds of
    processor time of all threads, token counts with and without padding, how many texts were computed (not found in
    a cache), and scores in [0, 1] where they mean something."""

    seconds: float
    processor_seconds: float = 0.0
    tokenize_seconds: float = 0.0
    compute_seconds: float = 0.0
    tokens: int = 0
    padded_tokens: int = 0
    computed: int = 0
    probabilities: list[float] = field(default_factory=list)
    peak_rss_mb: float = 0.0


class Stopwatch:
    """Both clocks, from when it is made: `seconds` on the wall, `processor_seconds` of all threads of this process."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began[0]

    @property
    def processor_seconds(self) -> float:
        return time.process_time() - self._began[1]


#: Scores texts and tells how it went.
Runner = Callable[[Sequence[str]], Outcome]


class Contestant:
    """`with Contestant(make, ...) as one: one.run(texts)`; `make(...)` is called in the process and returns a Runner.

    `make` is a function of a module. Raises ModelError, also for whatever else goes wrong in there, with its reason.
    """

    def __init__(self, make: Callable[..., Runner], *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
        self._process.start()
        theirs.close()

    def run(self, texts: Sequence[str]) -> Outcome:
        """Score these texts now. Not for use by several threads at once."""
        try:
            self._pipe.send(list(texts))
            answer: Outcome | str = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join(_STOP_S)
            raise ModelError(f"its process ended by itself, exit code {self._process.exitcode}") from error
        if isinstance(answer, str):
            raise ModelError(answer)
        return answer

    def close(self) -> None:
        self._pipe.close()
        self._process.join(_STOP_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def peak_rss_mb() -> float:
    """The most memory that this process had, in MB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def _serve(pipe: Connection, make: Callable[..., Runner], arguments: Sequence[object]) -> None:
    runner: Runner | None = None
    answer: Outcome | str
    with suppress(EOFError, BrokenPipeError):  # who asked has ended
        while True:
            texts = pipe.recv()
            try:
                runner = runner or make(*arguments)
                answer = runner(texts)
            except TocsinError as error:
                answer = str(error)
            except Exception as error:  # whatever a foreign library raises belongs in the report
                answer = f"{type(error).__name__}: {error}"
            pipe.send(answer)
