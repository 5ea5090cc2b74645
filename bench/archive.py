"""The archive measured: `python -m bench.archive [--signals 200000] [--slice 500]`.

Made-up log lines (176 bytes as JSON) of 50 hosts with 20 services each, from two clocks over three days, are folded,
scored by the null engine, archived in chunks of 100,000 signals, and replayed from the archive. No broker; rates are
over the CPU time of this process. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from pipeline.archive.archive import Archive
from pipeline.archive.chunks import Chunk
from pipeline.archive.tables import LoggedSlice
from pipeline.archive.writer import ArchiveWriter
from pipeline.flow import StreamFlow
from pipeline.instants import DAY_US, MINUTE_US, to_iso
from pipeline.records import RawRecord, encode
from pipeline.runtime.collector import settle
from pipeline.runtime.history import HistoryReplay
from pipeline.scoring.null_engine import NullEngine
from pipeline.scoring.scorer import Scorer
from pipeline.streams import Definition, Turn

START_US = 20_000 * DAY_US
SPAN_US = 3 * DAY_US
CHUNK = 100_000
LOG_WORDS = "connection timeout upstream request user session cache miss error disk full retry worker started"
WORDS = [*LOG_WORDS.split(), "stopped", "queue", "message", "payload", "invalid", "token", "refused"]
DEFINITION = Definition(
    name="logs",
    kind="logs",
    tick_us=5 * MINUTE_US,
    lateness_us=MINUTE_US,
    clock="data",
    group=("host",),
    member=("service",),
    clocks=("logs/web/0", "logs/web/1"),
)


def line(draw: random.Random, time_us: int) -> bytes:
    """One item as its sender writes it."""
    first, last = (" ".join(draw.choices(WORDS, k=n)) for n in (3, 6))
    text = f"{first} id={draw.randrange(10**6)} took {draw.randrange(10**4)} ms on {last}"
    host, service = f"web{draw.randrange(50)}", f"svc{draw.randrange(20)}"
    return json.dumps({"time": to_iso(time_us), "text": text, "host": host, "service": service}).encode()


def scored_slices(signals: int, a_slice: int) -> tuple[list[LoggedSlice], int]:
    """Slices as they stand in the score log, and the bytes of the items that they are made of."""
    draw, turn = random.Random(7), Turn(1, DEFINITION)
    flow = StreamFlow(DEFINITION, run="live", buckets=1)
    scorer = Scorer(NullEngine(), cache_entries=1000, batch_tokens=100_000)
    made: list[LoggedSlice] = []
    positions, offsets, size = [0, 0], [0, 0], 0
    for n, done in enumerate(range(0, signals, a_slice)):
        number = n % 2
        clock = DEFINITION.clocks[number]
        flow.open(clock, turn)
        payloads = [line(draw, START_US + (done + i) * SPAN_US // signals) for i in range(a_slice)]
        size += sum(map(len, payloads))
        record = RawRecord(positions[number], START_US + 9 * DAY_US, payloads=payloads)
        positions[number] = record.end
        for slice in flow.ingest(clock, [record]):
            made.append(LoggedSlice(number, offsets[number], scorer.score(slice, "logs")))
            offsets[number] += 1
    return made, size


def measure(signals: int, a_slice: int, folder: Path) -> dict[str, float]:
    """Archive and replay; figures a signal."""
    slices, raw_bytes = scored_slices(signals, a_slice)
    total = sum(len(one.scored.slice.signals) for one in slices)
    codec = pa.Codec("zstd")
    topic_bytes = sum(len(codec.compress(encode(one.scored))) for one in slices)
    settle()
    archive = Archive(folder)
    writer = ArchiveWriter(archive, lambda *_: Turn(1, DEFINITION))
    began_s = time.process_time()
    step = max(1, CHUNK // a_slice)
    for first in range(0, len(slices), step):
        chunk = Chunk(number=archive.last + 1, topic="bench", topic_id="bench", ranges={}, positions={})
        archive.chunks.plan(chunk)
        writer.write(chunk, slices[first : first + step])
    archived_s = time.process_time() - began_s
    began_s = time.process_time()
    replay = HistoryReplay(
        ["logs"],
        lambda *_: DEFINITION,
        archive=Archive(folder),
        log=None,
        from_us=START_US,
        to_us=START_US + 9 * DAY_US,
    )
    replayed = sum(step.signals for step in replay.steps())
    replayed_s = time.process_time() - began_s
    assert replayed == total

    def size(table: str) -> int:
        return sum(path.stat().st_size for path in folder.glob(f"{table}/**/*.parquet"))

    return {
        "signals": total,
        "signals_in_a_slice": a_slice,
        "raw_bytes": round(raw_bytes / total, 1),
        "topic_bytes": round(topic_bytes / total, 1),
        "parquet_bytes": round(size("signals") / total, 1),
        "slice_bytes": round(size("slices") / total, 2),
        "state_bytes": max(path.stat().st_size for path in folder.glob("states/**/*.parquet")),
        "archived_per_second": round(total / archived_s),
        "replayed_per_second": round(replayed / replayed_s),
        "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signals", type=int, default=200_000)
    parser.add_argument("--slice", type=int, default=500, help="signals in one slice")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        print(json.dumps(measure(options.signals, options.slice, Path(place))))
