"""Options that name the columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.streams import Definition


def columns_of(definition: Definition, pairs: Sequence[str], **named: str | None) -> dict[str, str]:
    """The column of each field that an option names; `pairs` are FIELD=COLUMN. Raises UsageError."""
    from pipeline.stream_rules import unknown_field

    columns = {field: name for field, name in named.items() if name is not None}
    if "" in columns.values():
        raise UsageError("a column needs a name, for example --text-column message")
    columns |= parsed_pairs(pairs)
    if unknown := unknown_field(columns, definition):
        raise UsageError(f"--column: {unknown}")
    return columns


def parsed_pairs(texts: Sequence[str]) -> dict[str, str]:
    """FIELD=COLUMN as a mapping. Raises UsageError."""
    pairs = {}
    for text in texts:
        field, equals, name = text.partition("=")
        if not (equals and field and name):
            raise UsageError(f"--column {text!r}: write FIELD=COLUMN, for example region=REGION")
        pairs[field] = name
    return pairs
