"""The worker: folds what the journals hold, waits for what may pass, stops with what cannot."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from structlog.testing import capture_logs

import pipeline.runtime.pipeline
import pipeline.runtime.worker
from pipeline.errors import ModelError, RangeGap, StoreUnavailable
from pipeline.instants import DAY_US, MINUTE_US, to_iso
from pipeline.journal.score_log import ScoreLog
from pipeline.runtime.checkpoint import Checkpoint, Position
from pipeline.runtime.partitions import Partitions
from pipeline.runtime.worker import Worker
from pipeline.scoring.null_engine import NullEngine
from pipeline.scoring.scorer import Scorer
from pipeline.streams import Definition, SourceDefinition

NOW_US = 20_000 * DAY_US


class MemoryStore:
    """Checkpoints in memory; `away` says how often it still answers StoreUnavailable."""

    def __init__(self) -> None:
        self.positions: dict[str, Position] = {}
        self.states: dict[str, bytes] = {}
        self.saved: list[Checkpoint] = []
        self.away = 0

    def _answer(self) -> None:
        if self.away:
            self.away -= 1
            raise StoreUnavailable

    def load(self) -> tuple[dict[str, Position], dict[str, bytes]]:
        self._answer()
        return dict(self.positions), dict(self.states)

    def save(self, checkpoint: Checkpoint, now_us: int) -> None:
        self._answer()
        self.saved.append(checkpoint)
        self.positions |= {p.partition: p for p in checkpoint.positions}
        self.states = dict(checkpoint.states)


class Setting:
    """A stream with one push source, its journal, a store in memory, and workers on them."""

    def __init__(self, folder: Path) -> None:
        self.definition = Definition(
            name="s",
            kind="logs",
            tick_us=MINUTE_US,
            clock="data",
            clocks=("s/push",),
            sources=(SourceDefinition(name="push", kind="push"),),
        )
        self.folder = folder
        self.store = MemoryStore()
        self.engine = NullEngine()
        self.partitions = Partitions(folder / "journal", self.streams, now_us=NOW_US)
        self.workers: list[Worker] = []

    @property
    def streams(self) -> Mapping[str, Definition]:
        return {"s": self.definition}

    def push(self, count: int) -> None:
        payload = json.dumps({"time": to_iso(NOW_US), "text": "x"}).encode()
        self.partitions["s/push"].append(payloads=[payload] * count, form="json", source="push", received_us=NOW_US)

    def worker(self) -> Worker:
        made = Worker(
            self.streams,
            self.partitions,
            run="live",
            buckets=1,
            scorer=Scorer(self.engine, cache_entries=10, batch_tokens=100),
            store=self.store,  # type: ignore[arg-type]
            scores=self.folder / "scores",
            checkpoint_s=0.01,
            slice_items=3,
            stored=lambda: None,
        )
        self.workers.append(made)
        made.start()
        return made


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setting]:
    monkeypatch.setattr(pipeline.runtime.worker, "RESTART_S", 0.01)
    monkeypatch.setattr(pipeline.runtime.pipeline, "RETRY_S", 0.01)
    made = Setting(tmp_path)
    yield made
    for worker in made.workers:
        assert worker.stop(10)
    made.partitions.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def counted(setting: Setting) -> int:
    found = setting.store.positions.get("s/push")
    return 0 if found is None else found.counts.counted


def test_what_is_pushed_is_folded_and_stored(setting: Setting) -> None:
    worker = setting.worker()
    setting.push(10)
    until(lambda: counted(setting) == 10)
    until(worker.stored)
    assert worker.behind() == 0


def test_a_worker_goes_on_where_the_last_one_stopped(setting: Setting) -> None:
    setting.push(10)
    first = setting.worker()
    until(lambda: counted(setting) == 10)
    assert first.stop(10)
    setting.push(5)
    setting.worker()
    until(lambda: counted(setting) == 15)


def test_a_stop_stores_what_is_folded(setting: Setting) -> None:
    setting.push(3)
    worker = setting.worker()
    until(lambda: worker.behind() == 0 and bool(worker.positions()))
    assert worker.stop(10)
    assert counted(setting) == 3


def test_a_store_that_is_away_at_the_start_is_waited_for_with_one_line(setting: Setting) -> None:
    setting.store.away = 5
    setting.push(4)
    with capture_logs() as logs:
        setting.worker()
        until(lambda: counted(setting) == 4)
    assert [entry["event"] for entry in logs] == ["worker_waits", "worker_goes_on"]


def test_a_store_that_goes_away_holds_checkpoints_up_with_one_line(setting: Setting) -> None:
    worker = setting.worker()
    until(lambda: bool(worker.positions()))
    setting.store.away = 5
    with capture_logs() as logs:
        setting.push(4)
        until(lambda: counted(setting) == 4)
    assert [entry["event"] for entry in logs] == ["store_unavailable", "store_available"]
    assert counted(setting) == 4


def test_a_full_disk_in_the_middle_of_a_step_neither_loses_nor_repeats(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = ScoreLog.append
    calls = 0

    def failing(log: ScoreLog, scored: object) -> None:
        nonlocal calls
        calls += 1
        append(log, scored)  # type: ignore[arg-type]
        if calls in (2, 4):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(ScoreLog, "append", failing)
    setting.push(10)
    worker = setting.worker()
    until(lambda: counted(setting) == 10)
    assert worker.stop(10)
    log = ScoreLog(setting.folder / "scores" / "s/push")
    positions = [s.position for one in log.read() for s in one.slice.signals]
    assert positions == list(range(1, 11))  # position 0 is the definition


def test_dead_letters_are_not_among_the_recorded_scores(setting: Setting) -> None:
    setting.push(1)
    setting.partitions["s/push"].append(payloads=[b"{secret", b"{}"], form="json", source="push", received_us=NOW_US)
    setting.push(1)
    worker = setting.worker()
    until(lambda: counted(setting) == 2)
    assert worker.stop(10)
    assert [dead.payload for made in setting.store.saved for *_, dead in made.dead] == [b"{secret", b"{}"]
    log = ScoreLog(setting.folder / "scores" / "s/push")
    assert [dead for one in log.read() for dead in one.slice.dead] == []
    assert not any(b"secret" in segment.read_bytes() for segment in log.segments())


def test_a_classifier_that_cannot_run_stops_the_worker_with_its_error(setting: Setting) -> None:
    def broken(batch: object) -> list[object]:
        raise ModelError("no model")

    setting.engine.score = broken  # type: ignore[assignment, method-assign]
    setting.push(1)
    worker = setting.worker()
    until(lambda: not worker.is_alive())
    assert isinstance(worker.error, ModelError)
    assert counted(setting) == 0


def test_what_is_behind_is_told(setting: Setting) -> None:
    setting.store.away = 10**9
    setting.push(7)
    worker = setting.worker()
    assert worker.behind() == 8  # seven items and the definition
    assert not worker.stored()
    setting.store.away = 0


def test_the_stored_positions_stay_behind_while_the_store_is_away(setting: Setting) -> None:
    setting.push(4)
    worker = setting.worker()
    until(lambda: worker.stored_positions() == {"s/push": 5})
    setting.store.away = 10**9
    setting.push(4)
    until(lambda: worker.positions()["s/push"].position > 5)
    assert worker.stored_positions() == {"s/push": 5}
    setting.store.away = 0
    until(lambda: worker.stored_positions() == {"s/push": 9})


def test_a_worker_that_starts_again_knows_what_was_stored(setting: Setting) -> None:
    setting.push(4)
    first = setting.worker()
    until(lambda: counted(setting) == 4)
    assert first.stop(10)
    later = setting.worker()
    until(lambda: later.stored_positions() == {"s/push": 5})  # nothing new came: no checkpoint was made


def test_what_a_worker_waits_for_is_its_trouble_until_it_goes_on(setting: Setting) -> None:
    setting.store.away = 10**9
    worker = setting.worker()
    until(lambda: "Postgres does not answer" in worker.trouble)  # at its start
    setting.store.away = 0
    until(lambda: worker.trouble == "")
    setting.push(1)
    until(lambda: counted(setting) == 1)
    setting.store.away = 10**9
    setting.push(1)
    until(lambda: "Postgres does not answer" in worker.trouble)  # at a checkpoint
    setting.store.away = 0
    until(lambda: worker.trouble == "")


def test_a_trouble_is_over_when_there_is_nothing_left_to_do(setting: Setting) -> None:
    setting.push(1)
    first = setting.worker()
    until(lambda: counted(setting) == 1)
    assert first.stop(10)
    setting.store.away = 3
    with capture_logs() as logs:
        worker = setting.worker()
        until(lambda: bool(worker.stored_positions()))
        until(lambda: worker.trouble == "")
    assert [entry["event"] for entry in logs] == ["worker_waits", "worker_goes_on"]


def test_a_gap_that_is_there_again_each_time_stops_the_worker_with_its_error(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def fold(*_: object) -> None:
        nonlocal calls
        calls += 1
        raise RangeGap(partition="s/push", expected=3, got=7)

    monkeypatch.setattr(pipeline.runtime.pipeline.Pipeline, "fold", fold)
    setting.push(1)
    worker = setting.worker()
    until(lambda: not worker.is_alive())
    assert isinstance(worker.error, RangeGap)
    assert calls == 1 + 3
    assert worker.trouble == "stopped: partition s/push: expected the record at 3, got 7; rewind"


def test_gaps_at_other_places_are_rewound_as_often_as_they_come(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = pipeline.runtime.pipeline.Pipeline.fold
    gaps = iter(range(6))

    def fold(made: object, *rest: object) -> object:
        if (place := next(gaps, None)) is not None:
            raise RangeGap(partition="s/push", expected=place, got=9)
        return plain(made, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline.runtime.pipeline.Pipeline, "fold", fold)
    setting.push(2)
    setting.worker()
    until(lambda: counted(setting) == 2)
