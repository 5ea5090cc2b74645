"""A replay held beside live: whether both told people the same. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.detect.digest import digest
from pipeline.records import Transition, encode


@dataclass(frozen=True, slots=True)
class Comparison:
    """The digests of both, and what they say: "kept" means equal in all that the database still holds."""

    replayed: str
    live: str
    verdict: Literal["equal", "kept", "different"]


def compare(replayed: Sequence[Transition], live: Sequence[Transition], *, kept_since_us: int) -> Comparison:
    """Hold a replay beside live, over the same ticks of one stream. Of ticks that began before `kept_since_us` live's
    alerts may have left the database, as they do when history_days have passed."""
    both = digest(replayed), digest(live)
    if both[0] == both[1]:
        return Comparison(*both, "equal")
    found = {(t.id, t.sequence): encode(t) for t in replayed}
    same = all(found.get((t.id, t.sequence)) == encode(t) for t in live)
    kept = {(t.id, t.sequence) for t in live}
    missing = [t for t in replayed if (t.id, t.sequence) not in kept]
    return Comparison(*both, "kept" if same and all(t.tick_us < kept_since_us for t in missing) else "different")
