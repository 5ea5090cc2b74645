"""Errors over HTTP: problem details as JSON (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

log = structlog.get_logger()


class Problem(Exception):
    """A request that is refused: the status and, for a person, what was wrong and what to do."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        super().__init__(detail)


def answer_with_problems(app: FastAPI) -> None:
    """Answer every error of an app with problem details; nothing of the request is in them."""

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> JSONResponse:
        return _response(error.status, error.detail, error.headers)

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> JSONResponse:
        return _response(error.status_code, error.detail, error.headers or {})

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        places = ", ".join(".".join(str(part) for part in one["loc"]) for one in error.errors())
        return _response(400, f"these parts of the request are not valid: {places}", {})

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> JSONResponse:
        log.error("request_failed", path=request.url.path, error=type(error).__name__)
        # The server closes the connection after a bug; who would use it again must know.
        return _response(500, "this is a mistake of Tocsin; its log says more", {"Connection": "close"})


def _response(status: int, detail: str, headers: Mapping[str, str]) -> JSONResponse:
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse(content, status, headers, media_type="application/problem+json")
