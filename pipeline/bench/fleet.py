"""A fleet: worker processes of one deployment that are killed, frozen and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Worker:
    """One process: `kind` and `number` name it, `command` starts it, `generation` counts its starts."""

    kind: str
    number: int
    command: Sequence[str]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    frozen: bool = False
    generation: int = 0

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.number}"


@dataclass(slots=True)
class Fleet:
    """The workers, whose logs go to `folder`. `died` are those that ended by themselves, with their exit codes."""

    folder: Path
    environment: Mapping[str, str]
    workers: list[Worker] = field(default_factory=list)
    died: list[tuple[str, int]] = field(default_factory=list)

    def add(
        self, kind: str, count: int, *, command: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        """Have so many more workers of a kind; `command` instead of `tocsin run KIND`."""
        chosen = command or (sys.executable, "-m", "pipeline.cli", "run", kind)
        first = sum(worker.kind == kind for worker in self.workers)
        for number in range(first, first + count):
            self.workers.append(Worker(kind, number, chosen, environment or {}))

    def of(self, kind: str) -> list[Worker]:
        """The workers of a kind."""
        return [worker for worker in self.workers if worker.kind == kind]

    def start(self, worker: Worker) -> None:
        """Start it, or again."""
        worker.generation += 1
        worker.frozen = False
        environment = {**os.environ, **self.environment, "TOCSIN_WORKER": worker.name, **worker.environment}
        with open(self.folder / f"{worker.name}.log", "ab") as log:
            log.write(f"=== start {worker.generation}\n".encode())
            log.flush()
            worker.process = subprocess.Popen(
                worker.command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def start_all(self) -> None:
        for worker in self.workers:
            self.start(worker)

    def kill(self, worker: Worker) -> None:
        """SIGKILL; nothing of it is left."""
        if worker.process is not None:
            worker.process.kill()
            worker.process.wait()

    def freeze(self, worker: Worker) -> None:
        """SIGSTOP."""
        if worker.process is not None:
            worker.process.send_signal(signal.SIGSTOP)
            worker.frozen = True

    def thaw(self, worker: Worker) -> None:
        """SIGCONT."""
        if worker.process is not None and worker.frozen:
            worker.process.send_signal(signal.SIGCONT)
            worker.frozen = False

    def supervise(self) -> None:
        """Start again what has ended by itself, as a supervisor of services does."""
        for worker in self.workers:
            if worker.process is not None and (code := worker.process.poll()) is not None:
                self.died.append((worker.name, code))
                self.start(worker)

    def stop(self, worker: Worker, timeout_s: float = 15.0) -> int:
        """SIGTERM; its exit code, or that of the SIGKILL which ends it when it takes longer."""
        if worker.process is None:
            return 0
        self.thaw(worker)
        worker.process.terminate()
        try:
            return worker.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill(worker)
            return worker.process.returncode

    def ended(self) -> str:
        """Which workers have ended by themselves, with their exit codes and last words; "" when all run."""
        said = []
        for worker in self.workers:
            if worker.process is not None and (code := worker.process.poll()) is not None:
                words = (self.folder / f"{worker.name}.log").read_text(errors="replace").strip().splitlines()
                said.append(f"{worker.name} ended with {code}: {words[-1] if words else 'without a word'}")
        return "; ".join(said)

    def end(self) -> None:
        """Kill all."""
        for worker in self.workers:
            self.kill(worker)
