"""Twenty runs of the exactness bench with other seeds and other trouble each: `make chaos`.

    python -m bench.chaos [--runs 20] [--first 1] [--logs FOLDER]

Prints a table in Markdown, a row as soon as its run is over; exit code 1 when any run was not exact. A run that was not
exact keeps its workers' logs.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from pipeline.bench.exact import exact, run_exact
from pipeline.bench.trouble import Plan
from pipeline.errors import TocsinError

COLUMNS = (
    *("run", "trouble", "signals", "late", "duplicates", "surges", "kills", "stops", "broker"),
    *("missing", "extra", "wrong", "alerts twice", "ids twice", "digest", "seconds"),
)


def plan(number: int) -> tuple[str, Plan]:
    """What run `number` (from 1) does, and its name."""
    usual = {"seed": 100 + number, "kills": 6, "stops": 2, "broker_kills": number % 2}
    variants: list[tuple[str, dict[str, Any]]] = [
        ("Postgres crashes", {"postgres_kills": 2}),
        ("cache killed", {"valkey_kills": 2}),
        ("one worker each, others join", {"parallelism": 1, "joins": 3, "kills": 4}),
        ("rolling restart", {"rolling": True, "kills": 3, "stops": 1}),
        ("many kills", {"kills": 12, "stops": 4, "broker_kills": 2}),
    ]
    name, changes = variants[(number - 1) % len(variants)]
    return name, Plan(**{**usual, **changes})


def row(number: int, name: str, result: dict[str, Any]) -> str:
    """One line of the table."""
    cells = [
        number,
        name,
        *(f"{result[key]:,}" for key in ("signals", "late", "duplicates", "surges", "kills", "stops", "broker_kills")),
        *(result[key] for key in ("missing", "extra", "wrong", "duplicate_alerts", "deliveries_twice_with_another_id")),
        "equal" if result["digest_equal"] else "DIFFERENT",
        f"{result['seconds']:.0f}",
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> int:
    """Run them all; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--first", type=int, default=1, help="number of the first run")
    parser.add_argument("--logs", type=Path, default=Path("chaos-logs"))
    options = parser.parse_args()
    print("| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS), flush=True)
    failed = 0
    for number in range(options.first, options.first + options.runs):
        name, what = plan(number)
        logs = options.logs / f"run-{number}"
        try:
            result = run_exact(what, lambda line: print(line, file=sys.stderr, flush=True), logs)
        except TocsinError as error:
            print(f"| {number} | {name} | {error} |" + " |" * (len(COLUMNS) - 3), flush=True)
            failed += 1
            continue
        print(row(number, name, result), flush=True)
        if exact(result):
            shutil.rmtree(logs, ignore_errors=True)
        else:
            print(f"run {number} was not exact: {result}", file=sys.stderr)
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
