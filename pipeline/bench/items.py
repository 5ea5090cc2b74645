"""The items of the speed benches: log lines of 200 bytes as JSON, over so many hosts, with bursts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

ITEM_BYTES = 200
#: Items in a minute of the made history: with 1,000 keys, each is seen a few times a tick.
ITEMS_A_TICK = 5_000
START = datetime(2024, 5, 6, tzinfo=UTC)

_NOUNS = [
    *("connection to", "request from", "session of", "block of", "lease for", "query by", "file on", "job at"),
    *("transfer to", "upload from", "call to", "probe of", "task on", "token for", "cache of", "route to"),
    *("mount of", "volume on", "stream from", "batch for"),
]
_VERBS = [f"{a} {b}" for a in ("opened", "closed", "refused", "retried", "served") for b in _NOUNS]
#: When bursts are, as shares of all items.
BURST = ((0.5, 0.53),)
#: One more at the very end, so that the last thing that comes of the items is a surge.
LAST_BURST = (*BURST, (0.97, 1.0))


def items(signals: int, keys: int, bursts: tuple[tuple[float, float], ...] = BURST) -> Iterator[str]:
    """`signals` items over `keys` hosts, with ids, a hundred templates, and bursts of one host."""
    draw = random.Random(7)
    for i in range(signals):
        # A host that says hundreds of times what it did, so that there are surges to commit.
        burst = i % 4 == 0 and any(signals * begin <= i < signals * end for begin, end in bursts)
        host = 7 % keys if burst else draw.randrange(keys)
        at = START + timedelta(minutes=i / ITEMS_A_TICK)
        text = f"{draw.choice(_VERBS)} 10.{host % 256}.{i % 256}.7:{i % 60000} in {draw.randrange(900)} ms"
        names = f'"source":"service{host % 100}","host":"host{host}"'
        head = f'{{"id":"{i}","time":"{at.isoformat()}",{names},"text":"{text}'
        yield head + " " + "x" * max(0, ITEM_BYTES - len(head) - 4) + '"}'


def end_us(signals: int, ticks: int) -> int:
    """So many ticks after the last item."""
    end = START + timedelta(minutes=signals // ITEMS_A_TICK + 1 + ticks)
    return int(end.timestamp()) * 1_000_000
