"""What a signal costs as there are more of them, and more keys: `python -m bench.growth [--repeats 5] [--json]`.

Each measurement is a process of its own with the local runtime: items from a file through all folds, with checkpoints
in Postgres, as `tocsin bench pipeline` does. One round measures every size once, so that whatever else the machine does
falls on all of them alike; the median of the rounds counts. "cpu" is the processor time of the process.

At the end of a tick every key is judged, touched or not, so the items of a tick share what a key costs. `--per-tick`
says how many they are, in ticks of a minute. The 5,000 of the default are the hard case: of 100,000 keys twenty are
judged for each item. `--per-tick 100000`, 1,700 items a second, is the case in which each of 100,000 hosts writes one
line a minute.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from pipeline.bench.items import ITEMS_A_TICK
from pipeline.bench.local import bench_local, write_items

KEYS, SIGNALS = 1_000, 1_000_000
#: (signals, keys)
Size = tuple[int, int]


def measured(size: Size, file: Path) -> tuple[float, float]:
    """(wall, cpu) microseconds a signal."""
    command = [sys.executable, "-m", "bench.growth", "--one", *map(str, size), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if result["counted"] != size[0]:
        raise SystemExit(f"{result['counted']} of {size[0]} signals were counted")
    return result["seconds"] * 1e6 / size[0], result["cpu_seconds"] * 1e6 / size[0]


def rounds(sizes: list[Size], repeats: int, per_tick: int) -> dict[Size, list[tuple[float, float]]]:
    """What each size cost in each round."""
    costs: dict[Size, list[tuple[float, float]]] = {size: [] for size in sizes}
    with tempfile.TemporaryDirectory(prefix="tocsin-growth-") as name:
        files = {size: Path(name) / f"{size[0]}-{size[1]}.ndjson" for size in sizes}
        for (signals, keys), file in files.items():
            print(f"writing {signals:,} items over {keys:,} keys, {per_tick:,} a tick", file=sys.stderr, flush=True)
            write_items(file, signals, keys, per_tick=per_tick)
        for number in range(repeats):
            for size in sizes:
                wall, cpu = measured(size, files[size])
                costs[size].append((wall, cpu))
                said = f"round {number + 1}: {size[0]:,} signals, {size[1]:,} keys: {wall:.1f} us, cpu {cpu:.1f} us"
                print(said, file=sys.stderr, flush=True)
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signals", default="100000,1000000,10000000", help="sizes, at 1,000 keys")
    parser.add_argument("--keys", default="100,1000,10000,100000", help="sizes, at 1,000,000 signals")
    parser.add_argument("--per-tick", type=int, default=ITEMS_A_TICK, help="items in a tick of a minute")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        signals, keys, file = given.one
        result = bench_local(signals=int(signals), keys=int(keys), engine_name="null", file=Path(file))
        print(json.dumps(result))
        return
    sizes = [(int(n), KEYS) for n in given.signals.split(",") if n] + [
        (SIGNALS, int(n)) for n in given.keys.split(",") if n
    ]
    costs = rounds(list(dict.fromkeys(sizes)), given.repeats, given.per_tick)
    table = [
        {
            "signals": size[0],
            "keys": size[1],
            "per_tick": given.per_tick,
            "rounds": len(found),
            "us_a_signal": round(median(wall for wall, _ in found), 2),
            "cpu_us_a_signal": round(median(cpu for _, cpu in found), 2),
        }
        for size, found in costs.items()
    ]
    if given.json:
        print(json.dumps(table))
        return
    print("| signals | keys | us a signal | cpu us a signal |\n| ---: | ---: | ---: | ---: |")
    for row in table:
        print(f"| {row['signals']:,} | {row['keys']:,} | {row['us_a_signal']} | {row['cpu_us_a_signal']} |")


if __name__ == "__main__":
    main()
