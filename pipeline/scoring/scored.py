"""What is said of a scored text, wherever it is said: the command, the Python API and HTTP."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pipeline.scoring.engine import Score
from pipeline.scoring.submissions import Flag

#: Digits of a probability after the point. Further ones change with the batch that a text is computed in (bf16 and
#: fp32 alike), and say nothing.
DIGITS = 5

#: A probability from here on is labelled "bad".
THRESHOLD = 0.5


class Scored(NamedTuple):
    """One text: `bad` is the calibrated probability in [0, 1] that it is bad news, `label` what that says, `topic` what
    it is about ("other" when none fits), `model` the version that said so, `flags` why it says little: see
    `pipeline.scoring.submissions.Flag`."""

    bad: float
    label: Literal["bad", "ok"]
    topic: str
    model: str
    flags: tuple[Flag, ...] = ()


def is_bad(probability: float) -> bool:
    """Whether a text of this probability is labelled "bad": by the rounded one, which is shown."""
    return round(probability, DIGITS) >= THRESHOLD


def scored(score: Score, version: str, flags: tuple[Flag, ...] = ()) -> Scored:
    """A score with its label and all else that is said of a text."""
    bad = round(score.probability, DIGITS)
    return Scored(bad, "bad" if is_bad(bad) else "ok", score.topic, version, flags)
