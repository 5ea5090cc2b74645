"""Turnover: the time in which a partition has two definitions, that in force and the one that follows from a tick on.

Each signal counts under one of them, by its event time, so the slices of that time are two slices for the folds behind
scoring: of the same range of the log, each with its definition's signals and ticks. Pure.
"""

from __future__ import annotations

from msgspec.structs import replace

from pipeline.records import ScoreSlice


def parts(scored: ScoreSlice) -> list[ScoreSlice]:
    """The slice of each definition in force, the older one first: the slice itself where there is only one."""
    slice = scored.slice
    following = slice.following
    if following is None:
        return [scored]
    older = [n for n, signal in enumerate(slice.signals) if signal.time_us < following.from_us]
    newer = [n for n, signal in enumerate(slice.signals) if signal.time_us >= following.from_us]
    old = replace(slice, signals=[slice.signals[n] for n in older], following=None)
    new = replace(
        slice,
        definition=following.definition,
        begins=following.begins,
        watermark_us=following.watermark_us,
        touched=following.touched,
        signals=[slice.signals[n] for n in newer],
        duplicates=0,
        dead=[],
        ends=False,
        following=None,
    )
    return [
        ScoreSlice(one, scored.model, [scored.probabilities[n] for n in chosen], [scored.topics[n] for n in chosen])
        for one, chosen in ((old, older), (new, newer))
    ]
