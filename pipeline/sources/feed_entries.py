"""RSS and Atom, as bytes, to entries."""

from __future__ import annotations

import calendar
import hashlib
import html
import io
import re
from typing import Any, NamedTuple

import feedparser

from pipeline.errors import SourceError
from pipeline.instants import EARLIEST_US, LATEST_US, SECOND_US

#: A longer title or summary is cut: it is far more than is ever scored.
MAX_TEXT = 40_000
MAX_ENTRIES = 5000
_MAX_ID = 200

# Each alternative stops at the next "<" or swallows all to the end: no text makes it slow, which cannot be said
# of html.parser (quadratic on "<a <a <a").
_MARKUP = re.compile(
    r"<(script|style|template|noscript)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)|</?[a-z!?][^<>]*>",
    re.IGNORECASE | re.DOTALL,
)


class Entry(NamedTuple):
    """`id`: its guid or link, hashed when long; "" when it has neither. `time_us`: None when it has no date that
    can be read. `source`: the medium that it names, "" for none. `key` tells it from other entries of its feed."""

    id: str
    time_us: int | None
    text: str
    source: str
    key: str


def entries_of(document: bytes) -> list[Entry]:
    """The entries of a feed, in its order, at most 5,000. Raises SourceError when the document is none.

    No address in it is followed, no entity beyond a character is expanded, and nothing in it is run.
    """
    try:
        # BytesIO: bytes and strings would be tried as a file name or an address first.
        found: Any = feedparser.parse(io.BytesIO(document), sanitize_html=False, resolve_relative_uris=False)
    except Exception as error:  # it raises what its parts raise: whatever it is, it is this document's fault
        raise SourceError(f"the feed cannot be read ({type(error).__name__})") from error
    if not found.entries and not found.get("version"):
        raise SourceError("the document is neither RSS nor Atom")
    return [_entry(each) for each in found.entries[:MAX_ENTRIES]]


def _entry(found: Any) -> Entry:
    id = str(found.get("id") or found.get("link") or "").strip()
    if len(id) > _MAX_ID:
        id = _hash(id)
    title = _plain(found.get("title_detail"))
    summary = _plain(found.get("summary_detail") or next(iter(found.get("content") or []), None))
    text = title if summary.startswith(title) and title == summary else f"{title}\n{summary}".strip()
    source = str(_construct(found.get("source")).get("title") or "").strip()[:_MAX_ID]
    return Entry(id, _time_us(found), text, source, _hash(id or text))


def _construct(found: Any) -> dict[str, Any]:
    """What feedparser found, if it is a construct: an element `<title_detail>` of the feed takes the same place."""
    return found if isinstance(found, dict) else {}


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _time_us(found: Any) -> int | None:
    for name in ("published_parsed", "updated_parsed", "created_parsed"):
        if name not in found:  # asked for without that, feedparser gives another one and warns
            continue
        try:
            time_us = calendar.timegm(found[name]) * SECOND_US
        except (ValueError, OverflowError, TypeError):
            continue
        if EARLIEST_US <= time_us <= LATEST_US:
            return time_us
    return None


def _plain(detail: Any) -> str:
    """The words of a text construct: markup, scripts and surplus blanks removed."""
    detail = _construct(detail)
    text = str(detail.get("value") or "")[:MAX_TEXT]
    if "html" in str(detail.get("type") or ""):
        text = html.unescape(_MARKUP.sub(" ", text))
    text = text.encode("utf-8", "replace").decode()  # lone surrogates
    return " ".join(text.split())
