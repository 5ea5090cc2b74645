"""The items of the speed benches: log lines of 200 bytes as JSON, over so many hosts, with bursts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

ITEM_BYTES = 200
#: Items in a minute of the made history, unless told otherwise: with 1,000 keys, each is seen a few times a tick.
ITEMS_A_TICK = 5_000
START = datetime(2024, 5, 6, tzinfo=UTC)

_NOUNS = [
    *("connection to", "request from", "session of", "block of", "lease for", "query by", "file on", "job at"),
    *("transfer to", "upload from", "call to", "probe of", "task on", "token for", "cache of", "route to"),
    *("mount of", "volume on", "stream from", "batch for"),
]
_VERBS = [f"{a} {b}" for a in ("opened", "closed", "refused", "retried", "served") for b in _NOUNS]


def items(signals: int, keys: int, *, last: bool = False, per_tick: int = ITEMS_A_TICK) -> Iterator[str]:
    """`signals` items over `keys` hosts, with ids, a hundred templates, and a burst of one host after half of them.

    `per_tick` items come in a minute. With `last` there is one more burst in the last tick, so that the last thing that
    comes of all items is a surge.
    """
    draw = random.Random(7)
    bursts = [range(int(signals * 0.5), int(signals * 0.53))]
    if last:
        bursts.append(range((signals - 1) // per_tick * per_tick, signals))
    for i in range(signals):
        burst = i % 4 == 0 and any(i in one for one in bursts)
        host = 7 % keys if burst else draw.randrange(keys)
        at = START + timedelta(minutes=i / per_tick)
        # Multiplied, the few hosts of a small bench have addresses as long as the many of a large one: masking looks at
        # three digits more closely than at two, and what a text costs must not depend on the number of keys.
        text = f"{draw.choice(_VERBS)} 10.{host * 37 % 256}.{i % 256}.7:{i % 60000} in {draw.randrange(900)} ms"
        names = f'"source":"service{host % 100}","host":"host{host}"'
        head = f'{{"id":"{i}","time":"{at.isoformat()}",{names},"text":"{text}'
        yield head + " " + "x" * max(0, ITEM_BYTES - len(head) - 4) + '"}'


def end_us(signals: int, ticks: int, *, per_tick: int = ITEMS_A_TICK) -> int:
    """So many ticks after the last item."""
    end = START + timedelta(minutes=signals // per_tick + 1 + ticks)
    return int(end.timestamp()) * 1_000_000
