"""Whether explanations find the words that a score hangs on: `python -m bench.explanations`.

    python -m bench.explanations [--data ../shared/data] [--texts 200] [--engine auto]

Held-out headlines of SEntFiN of at least seven words, drawn with a fixed seed. From each the three words that
`model.explain` puts first are left out, and beside that three words at random, five times over. Prints one JSON object:
how far the probability moves on average, how often the label changes, and in how many of the texts the explained words
move it further than those at random.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from statistics import fmean

from model.data.example import split_by_hash
from model.data.public_sets import sentfin
from model.engines.choose import load_engine
from model.explain import explain, spans
from pipeline.scoring.scored import THRESHOLD
from pipeline.scoring.text_scores import TextScores

LEFT_OUT = 3
DRAWS = 5


def headlines(folder: Path, number: int) -> list[str]:
    """So many held-out headlines, in an order that is the same everywhere."""
    texts = [e.text for e in sentfin(folder) if split_by_hash(e.group) == "test"]
    texts = [text for text in texts if len(spans(text)) > 2 * LEFT_OUT]
    return Random(0).sample(texts, min(number, len(texts)))


def without(text: str, words: Sequence[str]) -> str:
    """The text without these words of it, each left out where it stands first."""
    for word in words:
        start, end = next(place for place in spans(text) if text[slice(*place)] == word)
        text = " ".join(f"{text[:start]} {text[end:]}".split())
    return text


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--engine", default="auto")
    asked = parser.parse_args()
    engine = load_engine(asked.engine)
    scores = TextScores(engine, cache_entries=100, batch_tokens=8192)
    random = Random(1)
    moved: list[tuple[float, float]] = []
    flipped: list[tuple[float, float]] = []
    texts = headlines(asked.data, asked.texts)
    for text in texts:
        chosen = [word for word, _ in explain(engine, text, "news", most=LEFT_OUT)]
        words = [text[start:end] for start, end in spans(text)]
        drawn = [random.sample(words, LEFT_OUT) for _ in range(DRAWS)]
        variants = [text, *(without(text, left_out) for left_out in (chosen, *drawn))]
        whole, explained, *others = [score.probability for score in scores.score(variants, "news")]
        label = whole >= THRESHOLD
        moved.append((abs(whole - explained), fmean(abs(whole - other) for other in others)))
        flipped.append((label != (explained >= THRESHOLD), fmean(label != (other >= THRESHOLD) for other in others)))
    print(
        json.dumps(
            {
                "texts": len(texts),
                "engine": engine.name,
                "model": engine.version,
                "moved": round(fmean(one for one, _ in moved), 3),
                "moved_at_random": round(fmean(other for _, other in moved), 3),
                "flipped": round(fmean(one for one, _ in flipped), 3),
                "flipped_at_random": round(fmean(other for _, other in flipped), 3),
                "further_than_at_random": round(fmean(one > other for one, other in moved), 3),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
