"""The classifier for programs: load it, then score texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import get_args

from pipeline.scoring.engine import Engine
from pipeline.scoring.kind import Kind, kind_of
from pipeline.scoring.scored import Scored, scored
from pipeline.scoring.submissions import of_text
from pipeline.scoring.text_scores import TextScores

#: Texts that are scored together, so that memory does not grow with their number.
_CHUNK = 4096


class Classifier:
    """Says of texts how likely each is bad news, and what it is about.

    Ordering: results are in the order of the texts. Idempotence: a text that was scored keeps its score while it is
    among the last 200,000; else its last digits depend on its neighbours. Not for use by several threads at once.
    Raises: TypeError and ValueError for what is no list of texts or no kind; no text raises, whatever is in it.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._scores = TextScores(engine, cache_entries=200_000, batch_tokens=16_384)

    @classmethod
    def load(
        cls,
        folder: str | Path | None = None,
        engine: str = "auto",
        *,
        topics: Mapping[str, Sequence[str]] | None = None,
        threads: int | None = None,
        base: str | Path | None = None,
    ) -> Classifier:
        """The classifier in `folder`, else the shipped one; it takes about a second.

        `engine`: "auto", "openvino" or "torch"; `topics`: names with example phrases, beside its own; `threads`: how
        many of the CPU it may use; `base`: a folder of the base, or its id on the Hugging Face hub, else the installed
        package. Raises ModelError that says what to do.
        """
        from model.engines.choose import load_engine

        chosen = None if folder is None else Path(folder)
        return cls(load_engine(engine, folder=chosen, topics=topics, threads=threads, base=base))

    @property
    def version(self) -> str:
        """A hash of all that decides a score; every result names it."""
        return self.engine.version

    def score(self, texts: Iterable[str], kind: Kind | None = None) -> list[Scored]:
        """One result a text. `kind`: what all of them are; None: found from each, see `pipeline.scoring.kind`."""
        if isinstance(texts, str | bytes):
            raise TypeError("texts is one text; give a list: [text]")
        texts = list(texts)
        _check(texts, kind)
        results: list[Scored] = []
        for start in range(0, len(texts), _CHUNK):
            chunk = texts[start : start + _CHUNK]
            kinds = [kind or kind_of(text) for text in chunk]
            scores = self._scores.score_mixed(chunk, kinds)
            results += [
                scored(score, self.version, of_text(text).flags) for score, text in zip(scores, chunk, strict=True)
            ]
        return results

    def explain(self, text: str, kind: Kind | None = None, *, most: int = 5) -> list[tuple[str, float]]:
        """The words that move the probability of a text most, and by how much; see `model.explain.explain`."""
        from model.explain import explain

        _check([text], kind)
        return explain(self.engine, text, kind or kind_of(text), most=most)


def _check(texts: Sequence[object], kind: str | None) -> None:
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"texts[{i}] is of type {type(text).__name__}; it must be str")
    if kind is not None and kind not in get_args(Kind):
        raise ValueError(f"there is no kind {kind!r}; choose {', '.join(get_args(Kind))}, or None to find it")
