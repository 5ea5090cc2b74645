"""`POST /v1/score`: the classifier over HTTP, beside the push API and with its rules."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog
from fastapi import FastAPI, Request, Response

from pipeline.errors import ModelError
from pipeline.scoring.answers import Answer, Refusal, answers
from pipeline.scoring.submissions import Submission
from pipeline.scoring.text_scores import TextScores
from pipeline.sources.problem import Problem
from pipeline.sources.push_body import Encoding, negotiate, unpack
from pipeline.sources.push_limits import RateLimit, Room
from pipeline.sources.request_body import read_body
from pipeline.sources.score_body import MOST_TEXTS, read_score, score_answer

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

_JSON = "application/json"


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

    async def answer(self, submissions: Sequence[Submission]) -> bytes:
        """The body of the answer to a request. Ordering: first come, first served. Raises Problem (503)."""
        self.check()
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._answer, submissions)
        finally:
            self._waiting -= 1

    def _answer(self, submissions: Sequence[Submission]) -> bytes:
        try:
            if self._scores is None:
                self._scores = self._load()
            self._scores.renew()
            results: list[Answer | Refusal] = []
            for part in parts(submissions):
                if self._closed:
                    raise Problem(503, "Tocsin is stopping; send these texts again", {"Retry-After": "5"})
                results += answers(part, self._scores, named=False)
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


def add_score(
    app: FastAPI,
    desk: ScoreDesk,
    *,
    max_bytes: int,
    authorize: Callable[[Request], None],
    limit: RateLimit,
    room: Room,
) -> None:
    """Add the route; `authorize`, `limit` and `room` are those of the push API."""

    @app.post("/v1/score", openapi_extra=_BODY)
    async def score(request: Request) -> Response:
        """Score texts: {"items": [{"id", "text", "kind"}]}, at most 1,000; gzip if you like.

        The answer is {"model", "results": [{"id", "bad", "label", "topic"}]}, one for each item and in order; in the
        place of one that cannot be read stands {"id", "error"}. Nothing is stored.
        """
        authorize(request)
        content_type = request.headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() != _JSON:
            said = f"{content_type[:100]!r}" if content_type else "nothing"
            raise Problem(415, f"Content-Type says {said}; send {_JSON}", {"Accept-Post": _JSON})
        encoding = negotiate(content_type, request.headers.get("content-encoding", ""))
        client = request.client.host if request.client else ""
        limit.check(client)
        desk.check()
        with room.share() as take:
            body = await read_body(request, max_bytes, take)
            submissions = await asyncio.to_thread(_read, body, encoding, max_bytes)
            limit.take(client, len(submissions))
            answer = await desk.answer(submissions)
        return Response(answer, media_type=_JSON)


def _read(body: bytes, encoding: Encoding, max_bytes: int) -> list[Submission]:
    return read_score(unpack(body, max_bytes) if encoding.gzip else body)


_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            _JSON: {
                "schema": {
                    "type": "object",
                    "required": ["items"],
                    "additionalProperties": False,
                    "properties": {"items": {"type": "array", "maxItems": MOST_TEXTS, "items": {"type": "object"}}},
                }
            }
        },
    }
}
