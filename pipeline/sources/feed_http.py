"""Fetching a feed: bounded in time and size, and only from where it may come."""

from __future__ import annotations

import asyncio
import socket
import zlib
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urljoin, urlsplit

import httpx

from alerts.egress import Allowed, check_address
from pipeline.errors import ForbiddenAddress, SourceError

#: Feeds are small, and reading a hostile one costs seconds of CPU a megabyte.
MAX_FEED_BYTES = 4 * 2**20
#: Seconds for one fetch in all, redirects included.
TIMEOUT_S = 30.0
MAX_REDIRECTS = 5

_HEADERS = {
    "User-Agent": "Tocsin (feed reader)",
    "Accept": "application/rss+xml, application/atom+xml, application/xml;q=0.9, text/xml;q=0.9, */*;q=0.1",
    "Accept-Encoding": "gzip",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An answer: its status, body (unpacked), and the headers that decide when and how to ask again."""

    status: int
    body: bytes = b""
    etag: str = ""
    modified: str = ""
    retry_after: str = ""


class Fetch(Protocol):
    """Asks for a feed.

    Delivery: one answer, whatever its status, after redirects. Ordering, idempotence: none.
    Raises: SourceError when there is no answer within TIMEOUT_S and MAX_FEED_BYTES, or none that may be read.
    """

    def __call__(self, url: str, *, etag: str, modified: str) -> Fetched:
        """`etag` and `modified` are those of the last answer, for a 304 when nothing changed; "" for none."""


def http_fetch(url: str, *, etag: str, modified: str) -> Fetched:
    """Fetch over HTTP or HTTPS, without a proxy. See Fetch.

    The configured host may be any, a private one too. A redirect to another host must lead to a public address:
    else a feed could make this machine ask its neighbours.
    """
    headers = dict(_HEADERS)
    if etag:
        headers["If-None-Match"] = etag
    if modified:
        headers["If-Modified-Since"] = modified
    try:
        # Asynchronous for its deadline alone: a server that sends a byte now and then keeps no reader for ever.
        return asyncio.run(_fetch(url, headers))
    except TimeoutError as error:
        raise SourceError(f"the feed was not there after {TIMEOUT_S:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        # The address may hold a token: only the kind of the error is told.
        raise SourceError(f"the feed could not be fetched ({type(error).__name__})") from error


async def _fetch(url: str, headers: dict[str, str]) -> Fetched:
    at = url
    async with asyncio.timeout(TIMEOUT_S), httpx.AsyncClient(headers=headers, trust_env=False) as client:
        for _ in range(MAX_REDIRECTS + 1):
            elsewhere = await _check_target(at, url)
            async with client.stream("GET", at) as response:
                if elsewhere:
                    # The name may have meant another address just now.
                    address = response.extensions["network_stream"].get_extra_info("server_addr")
                    _check_public(str(address[0]), int(address[1]))
                location = response.headers.get("location", "")
                if response.status_code in (301, 302, 303, 307, 308) and location:
                    at = urljoin(at, location)
                    continue
                return await _answer(response)
    raise SourceError(f"the feed redirects more than {MAX_REDIRECTS} times")


async def _check_target(at: str, configured: str) -> bool:
    """Whether a URL leads to another host than the configured one. Raises SourceError when it must not."""
    parts = urlsplit(at)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SourceError("the feed's address, or one that it redirects to, is neither http:// nor https://")
    if parts.hostname == urlsplit(configured).hostname:
        return False
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    for *_, address in found:
        _check_public(str(address[0]), port)
    return True


def _check_public(address: str, port: int) -> None:
    try:
        check_address(address, port, Allowed(http=True))
    except ForbiddenAddress:
        raise SourceError(
            "the feed redirects to an address that is not public; if that is meant, configure that address"
        ) from None


async def _answer(response: httpx.Response) -> Fetched:
    body = b""
    if response.status_code == 200:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_FEED_BYTES:
                raise SourceError(f"the feed has more than {MAX_FEED_BYTES:,} bytes")
        body = _unpacked(body, response.headers.get("content-encoding", "").strip().lower())
    return Fetched(
        status=response.status_code,
        body=body,
        etag=response.headers.get("etag", "")[:1000],
        modified=response.headers.get("last-modified", "")[:1000],
        retry_after=response.headers.get("retry-after", "")[:100],
    )


def _unpacked(body: bytes, encoding: str) -> bytes:
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise SourceError(f"the feed is packed as {encoding[:20]!r}, which was not asked for")
    inflater = zlib.decompressobj(wbits=31)
    try:
        unpacked = inflater.decompress(body, MAX_FEED_BYTES)
    except zlib.error as error:
        raise SourceError(f"the feed's gzip data is damaged ({error})") from error
    if not inflater.eof:
        raise SourceError(f"the feed is cut off, or has more than {MAX_FEED_BYTES:,} bytes unpacked")
    return unpacked
