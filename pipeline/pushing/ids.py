"""The ids of a pushed file's items. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import xxhash


class ContentIds:
    """Ids that name an item by all that stands in its file up to and with it, after a `salt`.

    So the same file pushed again, packed, or grown meanwhile, has the same ids for what is the same; equal lines have
    ids of their own; and a file that was written anew has other ids from the first change on.
    """

    def __init__(self, salt: str) -> None:
        self._so_far = xxhash.xxh3_128(salt.encode("utf-8", "replace"))

    def of(self, payloads: Iterable[bytes]) -> list[str]:
        """The ids of the items that come next."""
        ids = []
        so_far = self._so_far
        for payload in payloads:
            so_far.update(b"%d:" % len(payload))
            so_far.update(payload)
            ids.append(so_far.hexdigest())
        return ids
