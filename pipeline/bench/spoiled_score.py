"""A scoring worker that aborts some of its transactions just before their commit.

Run as `python -m pipeline.bench.spoiled_score`; `TOCSIN_BENCH_SPOIL` is the share.
A transaction that was given up must leave no trace.
"""

from __future__ import annotations

import os
import random
import signal

from pipeline.kafka import score
from pipeline.kafka.health import Health
from pipeline.kafka.worker import Context
from pipeline.settings import load
from pipeline.stream_file import load as load_streams


def main() -> None:
    """Run until SIGTERM."""
    settings = load()
    context = Context(settings=settings, file=load_streams(settings.streams), health=Health("score"))
    signal.signal(signal.SIGTERM, lambda number, frame: context.stop.set())
    share = float(os.environ.get("TOCSIN_BENCH_SPOIL", "0"))
    draw = random.Random()
    score.run(context, spoil=lambda: draw.random() < share)


if __name__ == "__main__":
    main()
