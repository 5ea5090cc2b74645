"""A masked item: what of an item goes beyond the raw log. Pure."""

from __future__ import annotations

from functools import lru_cache

import xxhash

from pipeline.ingest.item import MAX_TEXT, Item
from pipeline.ingest.masking import mask


def masked(item: Item, source: str, *, ip: bool) -> tuple[str, str, tuple[str, ...]]:
    """Text, source and values without personal data."""
    text = item.text
    if len(text) > MAX_TEXT:
        # Masked before it is cut: half an address is one no more for the patterns, but still for people.
        text = mask(text[: 2 * MAX_TEXT], ip=ip)[:MAX_TEXT]
    else:
        text = mask(text, ip=ip)
    values = tuple([_mask_name(value, ip) for value in item.values])
    return text, _mask_name(item.source or source, ip), values


@lru_cache(maxsize=131_072)
def _mask_name(name: str, ip: bool) -> str:
    """A source or value without personal data; there are few of them, again and again."""
    return mask(name, ip=ip)


def plain_id(id: str) -> str:
    """An id without personal data, and still another for another id."""
    if "@" not in id and "+" not in id:
        return id  # nearly always
    return id if mask(id) == id else f"masked-{xxhash.xxh3_128_hexdigest(id.encode('utf-8', 'surrogatepass'))}"
