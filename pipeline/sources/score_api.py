"""`POST /v1/score` and `POST /v1/explain`: the classifier over HTTP, beside the push API and with its rules."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastapi import FastAPI, Request, Response

from pipeline.scoring.submissions import Submission
from pipeline.sources.problem import Problem
from pipeline.sources.push_body import Encoding, negotiate, unpack
from pipeline.sources.push_limits import RateLimit, Room
from pipeline.sources.request_body import read_body
from pipeline.sources.score_body import MOST_TEXTS, read_score
from pipeline.sources.score_desk import ScoreDesk

#: Texts that are explained for one request at most, a part each; and for so many texts each counts in the rate of a
#: client, since it is scored so often, with a blank for each of its words. Ten headlines take two cores less than
#: 1 s, ten texts of 256 tokens 12.
MOST_EXPLAINED, EXPLAINED_COUNTS = 10, 64

_JSON = "application/json"


def add_score(
    app: FastAPI,
    desk: ScoreDesk,
    *,
    max_bytes: int,
    authorize: Callable[[Request], None],
    limit: RateLimit,
    room: Room,
) -> None:
    """Add the routes; `authorize`, `limit` and `room` are those of the push API."""

    async def answer(request: Request, *, explained: bool) -> Response:
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
            most = MOST_EXPLAINED if explained else MOST_TEXTS
            submissions = await asyncio.to_thread(_read, body, encoding, max_bytes, most)
            limit.take(client, len(submissions) * (EXPLAINED_COUNTS if explained else 1))
            answered = await desk.answer(submissions, explained=explained)
        return Response(answered, media_type=_JSON)

    @app.post("/v1/score", openapi_extra=_body(MOST_TEXTS))
    async def score(request: Request) -> Response:
        """Score texts: {"items": [{"id", "text", "kind"}]}, at most 1,000; gzip if you like.

        The answer is {"model", "results": [{"id", "bad", "label", "topic"}]}, one for each item and in order; in the
        place of one that cannot be read stands {"id", "error"}. Nothing is stored.
        """
        return await answer(request, explained=False)

    @app.post("/v1/explain", openapi_extra=_body(MOST_EXPLAINED))
    async def say_why(request: Request) -> Response:
        """Score texts and say why: as /v1/score, at most 10.

        Each result has "why" as well, [{"word", "adds"}]: the words that move "bad" most, and by how much. Each text
        counts in the rate as 64.
        """
        return await answer(request, explained=True)


def _read(body: bytes, encoding: Encoding, max_bytes: int, most: int) -> list[Submission]:
    return read_score(unpack(body, max_bytes) if encoding.gzip else body, most)


def _body(most: int) -> dict[str, object]:
    """What the page of the API says of a body."""
    items = {"type": "array", "maxItems": most, "items": {"type": "object"}}
    schema = {"type": "object", "required": ["items"], "additionalProperties": False, "properties": {"items": items}}
    return {"requestBody": {"required": True, "content": {_JSON: {"schema": schema}}}}
