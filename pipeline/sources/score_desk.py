"""Scores for those who ask over HTTP: one request after the other, in parts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import structlog

from model.explain import explain
from pipeline.errors import ModelError
from pipeline.scoring.answers import Answer, Refusal, answers
from pipeline.scoring.submissions import Submission
from pipeline.scoring.text_scores import TextScores
from pipeline.sources.problem import Problem
from pipeline.sources.score_body import score_answer

log = structlog.get_logger()

#: Requests that wait for the classifier, with the one that it works at; who comes then is sent away.
MOST_WAITING = 8
#: Texts of a part, after which a request may be ended, and their tokens, as far as characters tell: at most about a
#: second's work for two free cores.
PART = 250
PART_TOKENS = 10_000

# What is a token at most, nearly: of English a piece of a word, of other scripts a character. Longer texts are cut.
_TOKEN = re.compile(r"[A-Za-z]{1,4}|[^\sA-Za-z]")
_MOST_TOKENS = 256


class ScoreDesk:
    """Scores for requests, one after the other on a thread of its own: the event loop waits for none.

    `load` is called for the first request, and again after it failed: a process that nobody asks for scores holds no
    classifier for them.
    """

    def __init__(self, load: Callable[[], TextScores]) -> None:
        self._load = load
        self._scores: TextScores | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="score")
        self._waiting = 0
        self._closed = False

    def close(self) -> None:
        """End the request under way at its next part, and those that wait."""
        self._closed = True
        self._executor.shutdown()

    def check(self) -> None:
        """Raises Problem (503) when too many wait."""
        if self._waiting >= MOST_WAITING:
            raise Problem(503, "too many texts wait to be scored; send these again", {"Retry-After": "1"})

    async def answer(self, submissions: Sequence[Submission], *, explained: bool = False) -> bytes:
        """The body of the answer to a request. Ordering: first come, first served. Raises Problem (503)."""
        self.check()
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, self._answer, submissions, explained)
        finally:
            self._waiting -= 1

    def _answer(self, submissions: Sequence[Submission], explained: bool) -> bytes:
        try:
            if self._scores is None:
                self._scores = self._load()
            self._scores.renew()
            why = partial(explain, self._scores.engine) if explained else None
            results: list[Answer | Refusal] = []
            for part in ([one] for one in submissions) if explained else parts(submissions):
                if self._closed:
                    raise Problem(503, "Tocsin is stopping; send these texts again", {"Retry-After": "5"})
                results += answers(part, self._scores, named=False, why=why)
            return score_answer(self._scores.version, results)
        except ModelError as error:
            log.error("scoring_failed", error=str(error))
            raise Problem(503, "the classifier cannot run; the log says why", {"Retry-After": "30"}) from None


def parts(submissions: Sequence[Submission]) -> Iterator[list[Submission]]:
    """The submissions in order, of each part at most PART and about PART_TOKENS tokens to score."""
    part: list[Submission] = []
    room = PART_TOKENS
    for one in submissions:
        tokens = min(len(_TOKEN.findall(one.text)), _MOST_TOKENS)
        if len(part) == PART or tokens > room:
            yield part
            part, room = [], PART_TOKENS
        part.append(one)
        room -= tokens
    if part:
        yield part
