"""A feed that is asked again and again: each entry once in the journal."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
import structlog

from pipeline.errors import SourceError
from pipeline.instants import DAY_US, HOUR_US, SECOND_US, from_datetime, to_iso
from pipeline.sources.feed_entries import Entry, entries_of
from pipeline.sources.feed_http import Fetch, Fetched, http_fetch
from pipeline.sources.journal_contract import Journal
from pipeline.streams import SourceDefinition

__all__ = ["FeedPoll", "http_fetch"]

log = structlog.get_logger()

#: The first wait after a failure; it doubles with each that follows.
FIRST_RETRY_US = 30 * SECOND_US
#: No failure makes a feed wait longer, unless its `every_us` or its Retry-After does.
LONGEST_RETRY_US = HOUR_US
#: Entries that are remembered beside those of the last document, since some feeds bring old ones back.
REMEMBERED = 1000
#: The mark that holds the keys of the entries seen, oldest first.
_MARK = "feed/seen"

_encode = msgspec.json.Encoder().encode


class FeedPoll:
    """Appends the new entries of an RSS or Atom feed to the journal of its source, the oldest first.

    An item has `id` (the entry's guid or link, which is also the id it brings), `time` (where it has a date; else
    it happened when it was received), `text` (title and summary without markup) and `source` (the medium that the
    entry names, else the name of this source).

    Delivery: each entry once, as long as the feed does not bring it back after a thousand others; then its id
    still marks it as a duplicate. What the feed drops between two polls was never seen.
    Ordering: by date within one answer. Idempotence: what was seen is kept in a mark of the same append, so a
    crash repeats nothing.
    Raises: JournalFull, JournalError. A feed that does not answer, or not with a feed, is logged once, and asked
    again after 30 s, then twice as long each time up to an hour (half of it drawn at random), and never before
    its Retry-After.
    """

    def __init__(
        self,
        definition: SourceDefinition,
        journal: Journal,
        fetch: Fetch,
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._source = definition
        self._journal = journal
        self._fetch = fetch
        self._draw = draw
        # Not kept over a restart: asking once without them costs less than an append a poll.
        self._etag = ""
        self._modified = ""
        self._failures = 0
        self._seen: dict[str, None] = dict.fromkeys(journal.marks.get(_MARK, "").split())
        #: Whether the last poll got an answer, and all of its entries are in the journal.
        self.at_end = False

    def poll_once(self, now_us: int) -> int:
        """Ask once; when to ask again, in microseconds since 1970."""
        self.at_end = False
        try:
            answer = self._fetch(self._source.url, etag=self._etag, modified=self._modified)
            if answer.status not in (200, 304):
                return self._failed(f"HTTP status {answer.status}", now_us, _asked_us(answer.retry_after, now_us))
            if answer.status == 200:
                self._take(answer, now_us)
        except SourceError as error:
            return self._failed(str(error), now_us)
        if self._failures:
            log.info("feed_reachable", feed=self._source.name)
        self._failures = 0
        self.at_end = True
        return now_us + self._source.every_us

    def _take(self, answer: Fetched, now_us: int) -> None:
        entries = {entry.key: entry for entry in reversed(entries_of(answer.body))}
        new = [entry for key, entry in entries.items() if key not in self._seen]
        if new:
            new.sort(key=lambda entry: now_us if entry.time_us is None else entry.time_us)
            # An entry that is still there moves to the end: only what the feed dropped is forgotten.
            seen = {key: None for key in self._seen if key not in entries} | dict.fromkeys(entries)
            kept = list(seen)[-(REMEMBERED + len(entries)) :]
            self._journal.append(
                payloads=[self._item(entry) for entry in new],
                form="row",
                source=self._source.name,
                received_us=now_us,
                ids=[entry.id for entry in new],
                marks={_MARK: " ".join(kept)},
            )
            self._seen = dict.fromkeys(kept)
        # Only now: an append that failed must see the document again.
        self._etag = answer.etag
        self._modified = answer.modified

    def _item(self, entry: Entry) -> bytes:
        item: dict[str, Any] = {"text": entry.text, "source": entry.source or self._source.name}
        if entry.id:
            item["id"] = entry.id
        if entry.time_us is not None:
            item["time"] = to_iso(entry.time_us)
        return _encode(item)

    def _failed(self, why: str, now_us: int, asked_us: int = 0) -> int:
        if not self._failures:
            log.warning("feed_unreachable", feed=self._source.name, error=why)
        self._failures += 1
        longest_us = max(LONGEST_RETRY_US, self._source.every_us)
        wait_us = min(FIRST_RETRY_US << min(self._failures - 1, 20), longest_us)
        wait_us = round(wait_us * (0.5 + 0.5 * self._draw()))
        return now_us + max(wait_us, asked_us)


def _asked_us(retry_after: str, now_us: int) -> int:
    """The wait that a Retry-After header asks for (RFC 9110, section 10.2.3), at most a day; 0 for none."""
    if not retry_after:
        return 0
    if retry_after.isascii() and retry_after.isdigit():
        return min(int(retry_after) * SECOND_US, DAY_US)
    try:
        moment = parsedate_to_datetime(retry_after)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0, min(from_datetime(moment) - now_us, DAY_US))
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0
