"""The bench of the local runtime: a file of items through everything but delivery, with real checkpoints."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from alerts import schema
from alerts.store import create_engine, transaction
from alerts.tables import positions, transitions
from model.engines.choose import load_engine
from pipeline.bench.items import ITEMS_A_TICK, items
from pipeline.cli.progress import Progress
from pipeline.clock import now_us
from pipeline.instants import MINUTE_US
from pipeline.runtime.checkpoint import CheckpointStore
from pipeline.runtime.collector import settle
from pipeline.runtime.pipeline import Pipeline
from pipeline.scoring.scorer import Scorer
from pipeline.servers.postgres import local_postgres
from pipeline.settings import load
from pipeline.sources.filelog import FileLog
from pipeline.streams import Definition

RUN = "bench"
PARTITION = "logs/file"
_SLICE_ITEMS = 16_384


def definition() -> Definition:
    """The stream of the bench: 1,000 hosts as members of a hundred services."""
    return Definition(
        name="logs",
        kind="logs",
        tick_us=MINUTE_US,
        clock="data",
        group=("source",),
        member=("host",),
        overall=True,
        clocks=(PARTITION,),
    )


def write_items(path: Path, signals: int, keys: int, *, per_tick: int = ITEMS_A_TICK) -> None:
    """A file of so many items, one a line."""
    with open(path, "w", encoding="ascii") as file:
        for item in items(signals, keys, per_tick=per_tick):
            file.write(item + "\n")


def bench_local(*, signals: int, keys: int, engine_name: str, file: Path | None = None) -> dict[str, Any]:
    """Run it and tell the figures: signals a second, resident memory, and what was stored.

    `file` holds the items, if they have been written before.
    """
    engine = load_engine(engine_name, base=load().base)
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as name:
        folder = Path(name)
        os.chmod(folder, 0o755)  # Postgres may run as another user
        path = file or folder / "items.ndjson"
        if file is None:
            write_items(path, signals, keys)
        with local_postgres(folder / "postgres") as url:
            schema.upgrade(url)
            database = create_engine(url)
            try:
                began_s = time.process_time()
                seconds = _run(path, signals, engine, CheckpointStore(database, RUN, deliver=False), folder)
                cpu_seconds = time.process_time() - began_s
                with transaction(database) as connection:
                    counted = connection.scalar(select(func.sum(positions.c.counted)))
                    told = connection.scalar(select(func.count()).select_from(transitions))
            finally:
                database.dispose()
    return {
        "signals": signals,
        "keys": keys,
        "engine": engine.name,
        "counted": int(counted or 0),
        "transitions": int(told or 0),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_seconds, 3),
        "signals_per_second": round(signals / seconds),
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def _run(path: Path, signals: int, engine: Any, store: CheckpointStore, folder: Path) -> float:
    """Fold the whole file with checkpoints as `up` makes them; the seconds it took, the last one included."""
    stream = definition()
    scorer = Scorer(engine, cache_entries=200_000, batch_tokens=16_384)
    settle()
    progress = Progress("bench", "signals")
    began = time.monotonic()
    pipeline = Pipeline(
        {stream.name: stream},
        run=RUN,
        buckets=1,
        scorer=scorer,
        store=store,
        scores=folder / "scores",
        checkpoint_s=1.0,
    )
    pipeline.open(stream.name, PARTITION)
    log = FileLog(path, partition=PARTITION, dimensions=stream.dimensions, received_us=now_us())
    for record in log.records(_SLICE_ITEMS):
        pipeline.fold(PARTITION, [record])
        if pipeline.due:
            pipeline.checkpoint()
        progress.update(record.end, record.end / signals)
    pipeline.checkpoint()
    seconds = time.monotonic() - began
    progress.close()
    pipeline.close()
    return seconds
