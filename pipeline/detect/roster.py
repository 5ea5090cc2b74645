"""The roster: which keys a bucket knows, and which of them share the member "other"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import filterfalse

import numpy as np
from numpy.typing import NDArray

from pipeline.records import Key

Counts = Mapping[Key, tuple[int, int]]

#: The member that the least used members of a crowded group are counted in. The group's own counts stay exact.
OTHER = "other"


class Roster:
    """Names of keys, each with its column. The group itself is the key with the empty member."""

    def __init__(self, names: Sequence[Key] = ()) -> None:
        self.names: list[Key] = list(names)
        self.column: dict[Key, int] = {name: i for i, name in enumerate(self.names)}
        self._members: dict[str, int] = {}
        for name in self.names:
            self._count(name, 1)

    def _count(self, name: Key, change: int) -> None:
        group, member = name
        if member and member != OTHER:
            self._members[group] = self._members.get(group, 0) + change

    def newcomers(self, counts: Counts) -> set[Key]:
        """The keys of `counts` that are not known."""
        # Not `counts.keys() - self.column.keys()`, which walks through every key that is known.
        return set(filterfalse(self.column.__contains__, counts))

    def crowded_out(self, newcomers: set[Key], counts: Counts, use: NDArray[np.float64], limit: int) -> set[Key]:
        """The members, known or new, that do not fit in their group of at most `limit` members.

        `use` is the decayed use of each known key before this tick. The least used leave, by name where use is
        equal; since this is decided once a tick over all of its counts, the order of arrival plays no part. A
        member that left and comes back competes as a new one."""
        new: dict[str, list[Key]] = {}
        for name in newcomers:
            if name[1] and name[1] != OTHER:
                new.setdefault(name[0], []).append(name)
        crowds = {g: names for g, names in new.items() if self._members.get(g, 0) + len(names) > limit}
        if not crowds:
            return set()
        for name in self.names:
            if name[0] in crowds and name[1] and name[1] != OTHER:
                crowds[name[0]].append(name)
        out: set[Key] = set()
        for names in crowds.values():
            ranked = sorted(
                names,
                key=lambda n: (
                    -((use[self.column[n]] if n in self.column else 0.0) + counts.get(n, (0, 0))[1]),
                    n,
                ),
            )
            out.update(ranked[limit:])
        return out

    def add(self, names: Sequence[Key]) -> None:
        """Append keys; their columns follow those of the known ones."""
        for name in names:
            self.column[name] = len(self.names)
            self.names.append(name)
            self._count(name, 1)

    def keeping(self, kept: Sequence[bool]) -> Roster:
        """The roster without the keys that are not kept; the others move up, in order."""
        return Roster([name for name, stays in zip(self.names, kept, strict=True) if stays])
