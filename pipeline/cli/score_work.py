"""What `tocsin score` does with chunks of submissions: scores, answers, and what is said at the end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from pipeline.cli.output import print_json, say
from pipeline.cli.progress import Progress
from pipeline.errors import TocsinError
from pipeline.scoring.answers import Refusal, Why, answers
from pipeline.scoring.submissions import Submission
from pipeline.scoring.text_scores import TextScores
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.scoring.engine import Engine


class ScoreWork:
    """Answers submissions on standard output, a JSON line each and in order, as soon as a chunk is scored.

    The engine is loaded for the first chunk: what cannot be read at all is said before that second is spent.
    """

    def __init__(self, settings: Settings, *, explain: bool) -> None:
        self._settings = settings
        self._explain = explain
        self._scores: TextScores | None = None
        self._progress: Progress | None = None
        self._done = 0
        self._refused = 0
        self._first = ""
        self._damaged: list[str] = []

    def score(self, chunk: Sequence[Submission], part_read: float | None) -> None:
        """Answer a chunk; so much of its file is read. Raises ModelError."""
        if self._scores is None:
            self._scores = _load(self._settings)
            self._progress = Progress("score", "texts")
        answered = answers(chunk, self._scores, why=self._why(self._scores.engine))
        print_json(*answered)
        self._done += len(answered)
        refused = [one for one in answered if isinstance(one, Refusal)]
        self._refused += len(refused)
        self._first = self._first or (refused[0].error if refused else "")
        if self._progress and not sys.stdout.isatty():  # else the answers are progress enough
            self._progress.update(self._done, part_read)

    def damaged(self, what: str) -> None:
        """A file ended early."""
        self._damaged.append(what)

    def finish(self) -> None:
        """Raises TocsinError when not all could be scored; what could be was answered."""
        if self._progress:
            self._progress.close()
        wrong = list(self._damaged)
        if self._refused:
            of = f"{self._refused:,} of {self._done:,}"
            what = f'{of} texts could not be read; each has its "error" in its place; the first: {self._first}'
            way_out = "; --form csv reads a table, --form line plain lines, --text-column another field"
            wrong.append(what + way_out if self._refused == self._done else what)
        if wrong:
            raise TocsinError("; ".join(wrong))

    def _why(self, engine: Engine) -> Why | None:
        if not self._explain:
            return None
        from model.explain import explain

        return partial(explain, engine)


def _load(settings: Settings) -> TextScores:
    from pipeline.runtime.classifier import load_scores
    from pipeline.stream_file import load as load_streams

    scores = load_scores(settings, load_streams(settings.streams).topics)
    if scores.engine.name == "null":
        say("engine null: scores are a hash of the text and mean nothing; for tests and benches only")
    return scores
