"""Keys: what a signal is counted under.

Made after scoring, since a topic may be part of them. A group is written "topic:finance" (or "a:x,b:y" for two
dimensions), the whole stream "all"; a member is written the same way, and the empty member is the group itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache

from pipeline.records import Key
from pipeline.streams import Definition

ALL = "all"
UNKNOWN = "unknown"

#: Of so many places (topic, source and values) the keys are remembered: making them costs ten times a look-up.
REMEMBERED = 131_072

#: The keys (group, member) of a signal from its topic, source and values.
Keys = Callable[[str, str, tuple[str, ...]], tuple[Key, ...]]


def key_maker(definition: Definition) -> Keys:
    """A function from (topic, source, values) to the keys of a signal: at least one, the group before its member.

    A signal that lacks every dimension of its group counts for the whole stream only, where that is a key.
    """
    place = {name: i for i, name in enumerate(definition.dimensions)}

    def name_of(dimensions: tuple[str, ...], topic: str, source: str, values: tuple[str, ...]) -> str:
        parts = []
        for dimension in dimensions:
            if dimension == "topic":
                value = topic
            elif dimension == "source":
                value = source
            else:
                value = values[place[dimension]]
            parts.append(f"{dimension}:{_plain(value)}")
        return ",".join(parts)

    nameless = ",".join(f"{dimension}:{UNKNOWN}" for dimension in definition.group)

    @lru_cache(maxsize=REMEMBERED)
    def keys(topic: str, source: str, values: tuple[str, ...]) -> tuple[Key, ...]:
        made: list[Key] = []
        if definition.group:
            group = name_of(definition.group, topic, source, values)
            # A group of what nobody named would be the whole stream once more, under another name.
            if group != nameless or not definition.overall:
                made.append((group, ""))
                if definition.member:
                    made.append((group, name_of(definition.member, topic, source, values)))
        if definition.overall:
            made.append((ALL, ""))
        return tuple(made)

    return keys


def bucket_of(group: str, buckets: int) -> int:
    """The bucket that holds a group and all its members."""
    return zlib.crc32(group.encode("utf-8", "surrogatepass")) % buckets


def _plain(value: str) -> str:
    """A value as part of a name: never empty, and without the characters that join names."""
    return value.replace(",", ";").replace("\n", " ") if value else UNKNOWN
