"""The counter that a reader of Faust's documentation would write: per key and minute, record by record.

Every setting is Faust's default. It is a process of its own, `python -m pipeline.bench.plain_faust worker`; where the
broker is and which topic it reads stand in the environment.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

import faust

app = faust.App(os.environ["TOCSIN_BENCH_APP"], broker=f"kafka://{os.environ['TOCSIN_KAFKA']}")


class Item(faust.Record, serializer="json"):
    id: str
    time: str
    source: str
    host: str
    text: str


def happened(event: faust.EventT[Item]) -> float:
    """When, in seconds since 1970."""
    return datetime.fromisoformat(event.value.time).timestamp()  # type: ignore[union-attr]


items = app.topic(os.environ["TOCSIN_BENCH_TOPIC"], key_type=str, value_type=Item)
counts = app.Table("counts", default=int).tumbling(timedelta(minutes=1)).relative_to(happened)  # type: ignore[attr-defined]


@app.agent(items)
async def count(stream: faust.StreamT[Item]) -> None:
    """One update of the table for each record."""
    async for item in stream:
        counts[f"{item.source}/{item.host}"] += 1


if __name__ == "__main__":
    app.main()
