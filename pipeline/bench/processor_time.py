"""Processor time: how much of it each process of a bench takes, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

import psutil  # type: ignore[import-untyped, unused-ignore]

from pipeline.clock import now_us

_EVERY_S = 0.1


class ProcessorTime:
    """`with ProcessorTime({"broker": pid}) as used: ...; used.between(begin_us, end_us)`. Children count as well."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._samples: list[tuple[int, dict[str, float]]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="processor-time", daemon=True)

    def add(self, name: str, pid: int) -> None:
        """Count this process as well, from now on."""
        self._pids = {**self._pids, name: pid}

    def between(self, begin_us: int, end_us: int) -> dict[str, float]:
        """Seconds by name between the samples that are nearest to two instants of the wall clock."""
        _, first = min(self._samples, key=lambda sample: abs(sample[0] - begin_us))
        _, last = min(self._samples, key=lambda sample: abs(sample[0] - end_us))
        return {name: last[name] - first.get(name, 0.0) for name in last}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            began_s = time.monotonic()
            self._samples.append((now_us(), {name: _seconds(pid) for name, pid in self._pids.items()}))
            self._over.wait(max(0.0, began_s + _EVERY_S - time.monotonic()))


def per_million(seconds: Mapping[str, float], count: int) -> dict[str, float]:
    """Seconds of each for a million of what there were `count` of."""
    return {name: round(used * 1e6 / count, 2) for name, used in seconds.items()}


def _seconds(pid: int) -> float:
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                total += times.user + times.system
    return total
