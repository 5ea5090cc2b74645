"""The options of commands that read a person's labelled texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from model.data.labelled_file import Columns

DATA = typer.Option(
    ..., "--data", exists=True, dir_okay=False, help="JSON lines or CSV, plain or gzip; may be given several times"
)
TEXT_COLUMN = typer.Option("text", help="the column or field that holds the text")
LABEL_COLUMN = typer.Option("label", help="the column or field that holds the label: bad or ok, 1 or 0")
GROUP_COLUMN = typer.Option(
    "", help="the column or field that says what belongs together (an event, a day): never split over training and test"
)
BAD_LABEL = typer.Option(None, help="a label that means bad, where yours are others; may be given several times")


def columns(text: str, label: str, group: str, bad: list[str] | None) -> Columns:
    """Which column holds what. Raises UsageError for one without a name."""
    from model.data.labelled_file import Columns

    if not text or not label:
        raise UsageError("a column needs a name, for example --text-column message")
    return Columns(text, label, group, frozenset(label.strip().lower() for label in bad or ()))
