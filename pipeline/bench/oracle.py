"""The oracle: a plain count of a raw log in dictionaries, which shares no code with the folds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipeline.bench.feed import is_bad

MINUTE_US = 60_000_000


@dataclass(slots=True)
class Count:
    """What became of the items, their ids, and (total, bad) by (group, member, start of minute in microseconds)."""

    accepted: int = 0
    late: int = 0
    duplicates: int = 0
    counted: int = 0
    dead: int = 0
    ids: set[str] = field(default_factory=set)
    total: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    bad: Counter[tuple[str, str, int]] = field(default_factory=Counter)

    def add(self, messages: Iterable[Any]) -> None:
        """Count one raw partition of the feed, in order."""
        seen: set[str] = set()
        watermark: int | None = None
        for message in messages:
            headers = dict(message.headers() or [])
            if headers.get("tocsin") == b"define":
                continue  # who counts, not what
            if "tocsin" in headers:
                watermark = max(watermark or 0, int(message.value()))
                continue
            self.accepted += 1
            try:
                item = json.loads(message.value())
                at = round(datetime.fromisoformat(item["time"]).timestamp() * 1_000_000)
            except (ValueError, KeyError, TypeError):
                self.dead += 1
                continue
            if item["id"] in seen:
                self.duplicates += 1
                continue
            seen.add(item["id"])
            self.ids.add(item["id"])
            minute = at // MINUTE_US * MINUTE_US
            # One minute of lateness: a minute has ended when the clock is a minute past it.
            late = watermark is not None and minute + 2 * MINUTE_US <= watermark
            watermark = at if watermark is None else max(watermark, at)
            if late:
                self.late += 1
                continue
            self.counted += 1
            group = f"source:{item['source']}"
            for member in ("", f"host:{item['host']}"):
                self.total[group, member, minute] += 1
                self.bad[group, member, minute] += is_bad(item["text"])
