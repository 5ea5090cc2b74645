"""Why a text got its score: how much each of its words adds to the probability.

Occlusion (Zeiler and Fergus 2014, section 4.1, with words for patches): a word adds what the probability loses when
the text is scored with a blank in its place. What is blanked is what was scored: for logs the template, not the line.

Where each of several words is enough to call a text bad, one blank changes little, whichever it is. So while the text
stays bad, the strongest word stays blanked and the others are looked at again. The few that are found so share what
they move together by their values of Shapley (1953, equation 13).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from math import comb

from pipeline.scoring.batches import plan_batches
from pipeline.scoring.engine import Engine, Tokens
from pipeline.scoring.scored import THRESHOLD
from pipeline.scoring.template import scored_texts
from pipeline.scoring.whole import whole
from pipeline.scoring.words import places

#: Rows of the forward passes for one text at most: the text itself, the text with a blank for each of its spans, and,
#: as far as there is room, with several.
ROWS = 64

#: Looks at a text that stays bad, at most; and so many words share what they move together.
LOOKS = 3

#: Padded tokens of one forward pass.
_BUDGET = 8192

#: Digits after the point: what lies beyond is noise of the forward pass.
_DIGITS = 4

#: What stands for a word that is blanked. The base was trained to read it as "some word" (Devlin et al. 2019, section
#: 3.1); to an engine without such a token it is a word like any other. docs/explanations.md says what else was tried.
BLANK = "[MASK]"

#: Spans of a text, by number.
Spans = tuple[int, ...]


def explain(engine: Engine, text: str, kind: str, *, most: int = 5) -> list[tuple[str, float]]:
    """The `most` words of a text of stream `kind` that move its probability of being bad, and by how much.

    A value is the probability minus that with a blank for the word, in [-1, 1], rounded to four digits: above 0 the
    word makes the text look bad, below 0 fine. Of a bad text that no one blank makes fine, up to `LOOKS` words have
    values that add up to what blanking all of them moves, as far as `ROWS` leaves room. Ordered by absolute value, then
    by place in the text; words that move nothing are left out. A word that occurs twice is listed for each place. A
    text of more than `ROWS` - 1 words is cut into as many spans of neighbouring words, shown as they stand but for lone
    surrogates, which become question marks. A text without words, empty or not, gives [].

    Idempotence: the same text, engine and machine give the same list.
    Raises: `ModelError` when the engine cannot run.
    """
    (scored,) = scored_texts(kind, [text])
    cut = spans(scored)
    if not cut:
        return []
    view = _View(engine, kind, scored, cut)
    unchanged, *alone = view.probabilities([(), *((i,) for i in range(len(cut)))])
    found = [unchanged - other for other in alone]
    for i, share in _shares(view, _strongest(view, alone)).items():
        found[i] = share
    adds = [round(value, _DIGITS) for value in found]
    order = sorted((i for i, value in enumerate(adds) if value), key=lambda i: (-abs(adds[i]), i))
    return [(whole(scored[slice(*cut[i])]), adds[i]) for i in order[:most]]


class _View:
    """A text with blanks for some of its spans, scored. What was scored before is not scored again."""

    def __init__(self, engine: Engine, kind: str, text: str, cut: Sequence[tuple[int, int]]) -> None:
        self._engine, self._kind, self._text, self._cut = engine, kind, text, cut
        self._known: dict[Tokens, float] = {}

    def probabilities(self, blanked: Sequence[Spans]) -> list[float]:
        """The probability with each of these sets of spans blanked. Texts that are the same to the engine share a row:
        beyond what it looks at, a blank changes nothing, to the last bit."""
        texts = [self._without(spans) for spans in blanked]
        tokens = [tuple(row) for row in self._engine.encode(texts, self._kind)]
        rows: list[Tokens] = [row for row in dict.fromkeys(tokens) if row not in self._known]
        for batch in plan_batches([len(row) for row in rows], budget=_BUDGET):
            chosen = [rows[i] for i in batch]
            for row, score in zip(chosen, self._engine.score(chosen), strict=True):
                self._known[row] = score.probability
        return [self._known[row] for row in tokens]

    def _without(self, blanked: Spans) -> str:
        parts, at = [], 0
        for start, end in (self._cut[i] for i in sorted(blanked)):
            parts += [self._text[at:start], BLANK]
            at = end
        return "".join([*parts, self._text[at:]])


def _strongest(view: _View, alone: Sequence[float]) -> Spans:
    """The spans whose blanks leave the lowest probability, each beside those before it, until it is no longer over one
    half; `alone` is what each leaves by itself. One where a single blank does it or nothing was over it, else at most
    `LOOKS`.

    After the first look only those that lower it most by themselves are looked at, so many as `ROWS` leaves room for:
    of its rows the first look has taken one more than there are spans, and `_shares` may take one.
    """
    room = (ROWS - 2 - len(alone)) // (LOOKS - 1)
    order = sorted(range(len(alone)), key=lambda i: (alone[i], i))
    leaves = {i: alone[i] for i in order[: 1 + max(0, room)]}
    chosen: Spans = ()
    while True:
        best = min(leaves, key=lambda i: (leaves[i], i))
        left = leaves.pop(best)
        chosen = (*chosen, best)
        if left <= THRESHOLD or len(chosen) == LOOKS or not leaves:
            return chosen
        leaves = dict(zip(leaves, view.probabilities([(*chosen, i) for i in leaves]), strict=True))


def _shares(view: _View, chosen: Spans) -> dict[int, float]:
    """What each of the spans adds to what they move together: its mean over all orders in which they are blanked."""
    subsets = [subset for size in range(len(chosen) + 1) for subset in combinations(chosen, size)]
    left = dict(zip(map(frozenset, subsets), view.probabilities(subsets), strict=True))
    count = len(chosen)
    return {
        i: sum(
            (left[frozenset(subset)] - left[frozenset((*subset, i))]) / (count * comb(count - 1, len(subset)))
            for subset in subsets
            if i not in subset
        )
        for i in chosen
    }


def spans(text: str) -> list[tuple[int, int]]:
    """Places [start, end) of at most `ROWS` - 1 runs of neighbouring words, as even as they go: one word each where
    there are no more."""
    words = places(text)
    count = min(len(words), ROWS - 1)
    bounds = [i * len(words) // count for i in range(count + 1)] if words else []
    return [(words[first][0], words[end - 1][1]) for first, end in pairwise(bounds)]
