"""The body of a request, as it was sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastapi import Request
from starlette.requests import ClientDisconnect

from pipeline.sources.problem import Problem
from pipeline.sources.push_body import too_large

#: Seconds that a client may take to send a body.
TIMEOUT_S = 60.0


async def read_body(request: Request, max_bytes: int, take: Callable[[int], None]) -> bytes:
    """The body; `take` is told of every byte, and may refuse it. No thread waits for it.

    Raises Problem (400, 408, 413, and what `take` raises).
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise too_large(max_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            async for chunk in request.stream():
                take(len(chunk))
                body += chunk
                if len(body) > max_bytes:
                    raise too_large(max_bytes)
    except TimeoutError:
        raise Problem(408, f"the body took longer than {TIMEOUT_S:g} s; send it in parts") from None
    except ClientDisconnect:
        raise Problem(400, "the body is cut off") from None
    return bytes(body)
