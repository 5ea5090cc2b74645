"""Answers: one JSON object for each submission, in its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from pipeline.scoring.kind import kind_of
from pipeline.scoring.scored import scored
from pipeline.scoring.submissions import Flag, Submission
from pipeline.scoring.text_scores import TextScores
from pipeline.scoring.whole import whole

#: A word of a text, and how much it adds to the probability that the text is bad.
Why = Callable[[str, str], Sequence[tuple[str, float]]]


class Part(msgspec.Struct, frozen=True):
    """A word of a text, and how much it adds to `bad`; below 0 it takes away."""

    word: str
    adds: float


class Answer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A score; see `pipeline.scoring.scored.Scored` and `pipeline.scoring.submissions.Flag`. `why` is there only when
    it was asked for."""

    id: msgspec.Raw
    bad: float
    label: str
    topic: str
    model: str = ""
    flags: tuple[Flag, ...] = ()
    why: tuple[Part, ...] | msgspec.UnsetType = msgspec.UNSET


class Refusal(msgspec.Struct, frozen=True):
    """What stands in the place of a text that could not be read."""

    id: msgspec.Raw
    error: str


def answers(
    submissions: Sequence[Submission], scores: TextScores, *, named: bool = True, why: Why | None = None
) -> list[Answer | Refusal]:
    """An answer to each submission, in order; `named` ones say the model, and `why` explains a text of a kind.

    Raises ModelError when the engine cannot run; no submission makes it raise.
    """
    good = [one for one in submissions if not one.error]
    kinds = [one.kind or kind_of(one.text) for one in good]
    found = iter(zip(kinds, scores.score_mixed([one.text for one in good], kinds), strict=True))
    result: list[Answer | Refusal] = []
    for one in submissions:
        if one.error:
            result.append(Refusal(one.id, whole(one.error)))
            continue
        kind, score = next(found)
        said = scored(score, scores.version, one.flags)
        result.append(
            Answer(
                id=one.id,
                bad=said.bad,
                label=said.label,
                topic=said.topic,
                model=said.model if named else "",
                flags=said.flags,
                why=msgspec.UNSET if why is None else tuple(Part(*part) for part in why(one.text, kind)),
            )
        )
    return result
