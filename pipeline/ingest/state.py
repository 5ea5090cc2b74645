"""The state of ingest for one raw partition: what is kept over a restart, beside the ids of the output."""

from __future__ import annotations

import msgspec


class Counts(msgspec.Struct, array_like=True):
    """What became of the items of one raw partition. Their sum is the number of items taken in."""

    counted: int = 0
    late: int = 0
    duplicates: int = 0
    dead: int = 0

    @property
    def items(self) -> int:
        return self.counted + self.late + self.duplicates + self.dead


class IngestState(msgspec.Struct, array_like=True):
    """The saved state of ingest for one raw partition, valid as of `position`.

    `watermark_us` is the greatest event time seen (None before the first); `last_us` that of the newest line,
    for lines that bring none. `begun` is false until the definition in force has given out its first slice.
    `turn` is the note of the definition in force, `pending` that of one that follows from a tick on (empty: none),
    and `pending_begun` whether that has given out its first slice.
    `left_us` is the watermark at which the partition left (None: it has not), an early instant where it had none.
    """

    stream: str
    partition: str
    turn: str
    position: int = 0
    watermark_us: int | None = None
    last_us: int | None = None
    left: bool = False
    begun: bool = False
    counts: Counts = msgspec.field(default_factory=Counts)
    pending: str = ""
    left_us: int | None = None
    pending_begun: bool = False
