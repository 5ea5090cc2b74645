"""Why a text got its score: how much each of its words adds to the probability.

Occlusion (Zeiler and Fergus 2014, section 4.1, with words for patches): a word adds what the probability loses when
the text is scored with a blank in its place. What is blanked is what was scored: for logs the template, not the line.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pipeline.scoring.batches import plan_batches
from pipeline.scoring.engine import Engine, Tokens
from pipeline.scoring.template import scored_texts
from pipeline.scoring.words import places

#: Rows of the forward passes for one text at most: the text itself, and the text with a blank for each of its spans.
ROWS = 64

#: Padded tokens of one forward pass.
_BUDGET = 8192

#: Digits after the point: what lies beyond is noise of the forward pass.
_DIGITS = 4

#: What stands for a word that is blanked. The base was trained to read it as "some word" (Devlin et al. 2019, section
#: 3.1); to an engine without such a token it is a word like any other. docs/explanations.md says what else was tried.
BLANK = "[MASK]"


def explain(engine: Engine, text: str, kind: str, *, most: int = 5) -> list[tuple[str, float]]:
    """The `most` words of a text of stream `kind` that move its probability of being bad, and by how much.

    A value is the probability minus that with a blank for the word, in [-1, 1], rounded to four digits: above 0 the
    word makes the text look bad, below 0 fine. Ordered by absolute value, then by place in the text; words that move
    nothing are left out. A word that occurs twice is listed for each place. A text of more than `ROWS` - 1 words is
    cut into as many spans of neighbouring words, shown as they stand. A text without words, empty or not, gives [].

    Idempotence: the same text, engine and machine give the same list.
    Raises: `ModelError` when the engine cannot run.
    """
    (scored,) = scored_texts(kind, [text])
    cut = spans(scored)
    if not cut:
        return []
    blanked = [f"{scored[:start]}{BLANK}{scored[end:]}" for start, end in cut]
    probabilities = _probabilities(engine, [scored, *blanked], kind)
    adds = [round(probabilities[0] - other, _DIGITS) for other in probabilities[1:]]
    order = sorted((i for i, value in enumerate(adds) if value), key=lambda i: (-abs(adds[i]), i))
    return [(scored[slice(*cut[i])], adds[i]) for i in order[:most]]


def spans(text: str) -> list[tuple[int, int]]:
    """Places [start, end) of at most `ROWS` - 1 runs of neighbouring words, as even as they go: one word each where
    there are no more."""
    words = places(text)
    count = min(len(words), ROWS - 1)
    bounds = [i * len(words) // count for i in range(count + 1)] if words else []
    return [(words[first][0], words[end - 1][1]) for first, end in pairwise(bounds)]


def _probabilities(engine: Engine, texts: Sequence[str], kind: str) -> list[float]:
    """The probability of each text. Texts that are the same to the engine share a row: beyond what it looks at,
    a blank changes nothing, to the last bit."""
    tokens = [tuple(row) for row in engine.encode(texts, kind)]
    rows: list[Tokens] = list(dict.fromkeys(tokens))
    found: dict[Tokens, float] = {}
    for batch in plan_batches([len(row) for row in rows], budget=_BUDGET):
        chosen = [rows[i] for i in batch]
        for row, score in zip(chosen, engine.score(chosen), strict=True):
            found[row] = score.probability
    return [found[row] for row in tokens]
