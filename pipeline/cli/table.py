"""Tables for people, on standard output."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.cli.output import visible


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as their longest cell; control characters of hostile text are shown, not obeyed."""
    cells = [["" if cell is None else visible(str(cell)) for cell in row] for row in rows]
    widths = [max(len(head[i]), *(len(row[i]) for row in cells)) if cells else len(head[i]) for i in range(len(head))]
    for row in ([*head], *cells):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
