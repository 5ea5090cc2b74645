"""The bench of scoring: each engine beside the usual loop, and how many labels the default one changes against fp32.

All take turns on the same texts: a round is the usual loop on a sample of a part (it is slow), the default engine on
the whole part, the other engines on a sample. A sample has the lengths of its part.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, get_args

from pipeline.bench.contestant import Contestant, Outcome
from pipeline.bench.rounds import flips_per_1000, largest_change, median_ratio, rounds
from pipeline.bench.scoring_runners import our_path, reference, usual_loop
from pipeline.bench.scoring_texts import PUBLIC, apart, mixed_texts, sample_like, texts_of
from pipeline.cli.progress import Progress
from pipeline.errors import ModelError
from pipeline.settings import Settings

#: Texts that the default engine scores and fp32 repeats; the other two see a sample of each round.
TEXTS = 20_000
ROUNDS = 5
USUAL_SAMPLE = 320
ENGINE_SAMPLE = 640

#: Runs with the number of texts of each.
Runs = list[tuple[Outcome, int]]

_SEED = 1
_REFERENCE_STEP = 1000


def bench_scoring(settings: Settings, file: Path | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure, in about five minutes. Raises UsageError and SourceError without texts, ModelError where no
    engine runs."""
    from model.engines.choose import Name, choose

    began = time.monotonic()
    texts = mixed_texts(PUBLIC, TEXTS, _SEED) if file is None else apart({"": texts_of(file)})[""]
    default, why = choose(settings.engine)
    say(f"{len(texts):,} texts; default engine: {why}")
    path = (settings.model, settings.batch_tokens, "news", 1)  # a cache of one text finds none
    with ExitStack() as stack:
        theirs = stack.enter_context(Contestant(usual_loop))
        engines = {
            name: stack.enter_context(Contestant(our_path, name, *path))
            for name in (default, *(name for name in get_args(Name) if name not in (default, "null")))
        }
        theirs.run(texts[:2])
        skipped = _warm_up(engines, texts[:64], default)
        usual, runs = _take_turns(theirs, {n: e for n, e in engines.items() if n not in skipped}, texts, default)
    with Contestant(reference, settings.model, "news") as exact:
        expected = in_steps(exact, texts, "fp32")
    ours = runs[default]
    probabilities = [p for outcome, _ in ours for p in outcome.probabilities]
    tokens, padded = (sum(getattr(one, name) for one, _ in ours) for name in ("tokens", "padded_tokens"))
    seconds = sum(outcome.seconds for outcome, _ in ours)
    tokenizing, computing = (
        sum(getattr(one, name) for one, _ in ours) for name in ("tokenize_seconds", "compute_seconds")
    )
    usual_rates = [rate(*one) for one in usual]
    figures = {name: _figures(found, usual) for name, found in runs.items()}
    return {
        "engine": default,
        "why": why,
        **figures[default],
        "ratio_of_each_round": [round(rate(*a) / b, 2) for a, b in zip(ours, usual_rates, strict=True)],
        "flips_per_1000": round(flips_per_1000(probabilities, expected), 3),
        "largest_change": round(largest_change(probabilities, expected), 4),
        "padding_share": round(1 - tokens / padded, 3) if padded else None,
        "time_shares": {
            "tokenize": round(tokenizing / seconds, 3),
            "compute": round(computing / seconds, 3),
            "rest": round(1 - (tokenizing + computing) / seconds, 3),
        },
        "hf_pipeline": {
            "texts_per_second": round(median(usual_rates), 1),
            "texts": sum(count for _, count in usual),
            "peak_rss_mb": usual[-1][0].peak_rss_mb,
        },
        "engines": {**figures, **{name: {"skipped": why} for name, why in skipped.items()}},
        **machine(),
        "seconds": round(time.monotonic() - began, 1),
    }


def rate(outcome: Outcome, texts: int) -> float:
    """Texts a second of a run of so many texts."""
    return texts / outcome.seconds


def processor_ratio(ours: Runs, theirs: Runs) -> float:
    """How many times the processor time of ours theirs take for a text: what a busy machine disturbs least."""
    ours_s, theirs_s = (
        sum(one.processor_seconds for one, _ in runs) / sum(count for _, count in runs) for runs in (ours, theirs)
    )
    return theirs_s / ours_s


def in_steps(one: Contestant, texts: Sequence[str], what: str) -> list[float]:
    """The probabilities of all texts, some at a time, with progress."""
    progress = Progress(what, "texts")
    found: list[float] = []
    for start in range(0, len(texts), _REFERENCE_STEP):
        found += one.run(texts[start : start + _REFERENCE_STEP]).probabilities
        progress.update(len(found), len(found) / len(texts))
    progress.close()
    return found


def machine() -> dict[str, Any]:
    """What the figures depend on: the processor, and what else runs on it."""
    from model.engines.cpu import flags

    return {"cores": os.cpu_count(), "cpu_flags": sorted(flags()), "load": [round(x, 1) for x in os.getloadavg()]}


def _warm_up(engines: dict[str, Any], texts: Sequence[str], default: str) -> dict[str, str]:
    """Why the engines that cannot run cannot. Raises ModelError when the default one is among them."""
    skipped = {}
    for name, engine in engines.items():
        try:
            engine.run(texts)
        except ModelError as error:
            if name == default:
                raise
            skipped[name] = str(error)
    return skipped


def _take_turns(
    theirs: Contestant, engines: dict[str, Contestant], texts: Sequence[str], default: str
) -> tuple[Runs, dict[str, Runs]]:
    progress = Progress("rounds", "runs")
    usual: Runs = []
    runs: dict[str, Runs] = {name: [] for name in engines}
    turns = list(_turns(theirs, engines, texts, default))
    for done, (name, one, some) in enumerate(turns, 1):
        (runs[name] if name else usual).append((one.run(some), len(some)))
        progress.update(done, done / len(turns))
    progress.close()
    return usual, runs


def _turns(
    theirs: Contestant, engines: dict[str, Contestant], texts: Sequence[str], default: str
) -> Iterator[tuple[str, Contestant, Sequence[str]]]:
    for part in rounds(texts, ROUNDS):
        yield "", theirs, sample_like(part, USUAL_SAMPLE)
        for name, one in engines.items():
            yield name, one, part if name == default else sample_like(part, ENGINE_SAMPLE)


def _figures(found: Runs, usual: Runs) -> dict[str, Any]:
    rates = [rate(*one) for one in found]
    return {
        "texts_per_second": round(median(rates), 1),
        "ratio": round(median_ratio(rates, [rate(*one) for one in usual]), 2),
        "processor_ratio": round(processor_ratio(found, usual), 2),
        "texts": sum(count for _, count in found),
        "tokens_per_second": round(sum(one.tokens for one, _ in found) / sum(one.seconds for one, _ in found)),
        "peak_rss_mb": found[-1][0].peak_rss_mb,
    }
