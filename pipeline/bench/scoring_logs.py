"""The bench of scoring log lines: templates and a cold cache beside the usual loop, each line once.

The usual loop takes a sample of the raw lines, ours all of them, some thousands at a time as the scoring worker does;
both take turns. What is compared with fp32 are labels of lines: those of the template (what is scored), and those of
the raw line, which tell what masking itself changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.bench.contestant import Contestant
from pipeline.bench.rounds import flips_per_1000, rounds
from pipeline.bench.scoring import ROUNDS, USUAL_SAMPLE, Runs, in_steps, machine, processor_ratio
from pipeline.bench.scoring_runners import our_path, reference, usual_loop
from pipeline.bench.scoring_texts import PUBLIC, log_lines, sample_like, texts_of
from pipeline.cli.progress import Progress
from pipeline.settings import Settings

#: Lines whose raw form fp32 scores as well: nine in ten differ from one before, so all would take minutes.
RAW_SAMPLE = 5000


def bench_log_scoring(settings: Settings, file: Path | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure, in about four minutes. Raises UsageError and SourceError without lines, ModelError where no
    engine runs."""
    from model.engines.choose import choose

    began = time.monotonic()
    lines = log_lines(PUBLIC) if file is None else texts_of(file)
    default, why = choose(settings.engine)
    say(f"{len(lines):,} log lines; default engine: {why}")
    usual: Runs = []
    ours: Runs = []
    progress = Progress("rounds", "lines")
    path = (default, settings.model, settings.batch_tokens, "logs", settings.cache_entries)
    with Contestant(usual_loop) as theirs, Contestant(our_path, *path) as engine:
        theirs.run(lines[:2])
        engine.run(["warm up"])  # no template of any line, so the cache stays cold
        for part in rounds(lines, ROUNDS):
            some = sample_like(part, USUAL_SAMPLE)
            usual.append((theirs.run(some), len(some)))
            ours.append((engine.run(part), len(part)))
            progress.update(sum(n for _, n in ours), len(ours) / ROUNDS)
    progress.close()
    probabilities = [p for outcome, _ in ours for p in outcome.probabilities]
    places = range(0, len(lines), max(1, len(lines) // RAW_SAMPLE))
    with Contestant(reference, settings.model, "logs") as exact:
        masked = in_steps(exact, lines, "fp32 on templates")
    with Contestant(reference, settings.model, "news") as exact:
        raw = in_steps(exact, [lines[i] for i in places], "fp32 on raw lines")
    computed = sum(outcome.computed for outcome, _ in ours)
    our_rate, usual_rate = (
        sum(n for _, n in runs) / sum(outcome.seconds for outcome, _ in runs) for runs in (ours, usual)
    )
    return {
        "engine": default,
        "why": why,
        "lines_per_second": round(our_rate, 1),
        "ratio": round(our_rate / usual_rate, 1),
        "processor_ratio": round(processor_ratio(ours, usual), 1),
        "hit_rate": round(1 - computed / len(lines), 4),
        "flips_per_1000": round(flips_per_1000(probabilities, masked), 3),
        "masking_flips_per_1000": round(flips_per_1000([masked[i] for i in places], raw), 2),
        "lines": len(lines),
        "computed": computed,
        "raw_lines_compared": len(places),
        "peak_rss_mb": ours[-1][0].peak_rss_mb,
        "hf_pipeline": {
            "lines_per_second": round(usual_rate, 1),
            "lines": sum(n for _, n in usual),
            "peak_rss_mb": usual[-1][0].peak_rss_mb,
        },
        **machine(),
        "seconds": round(time.monotonic() - began, 1),
    }
