"""Standard output that loses nothing in silence: what cannot be written is an error that says so."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

from pipeline.errors import OutputFailed

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Written(io.FileIO):
    """A descriptor that gives an error of the project's own, so that it is known from that of another file."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputFailed(f"cannot write to standard output: {error.strerror}") from error


def prepare() -> None:
    """Put a buffer before standard output, which writes again what was written in part only.

    With PYTHONUNBUFFERED there is none. Where standard output or standard error is closed, its number is taken, lest
    the next file that is opened gets it.
    """
    if sys.stderr is None:
        _take(2, os.O_WRONLY)
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    if sys.stdout is not sys.__stdout__:
        return  # a program that calls this one has put its own there
    encoding, errors = "utf-8", "strict"
    if sys.stdout is None:
        _take(1, os.O_RDONLY)  # every write is an error then
    else:
        sys.stdout.flush()
        encoding, errors = sys.stdout.encoding, sys.stdout.errors or errors
    raw = _Written(1, "wb", closefd=False)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=encoding,
        errors=errors,
        line_buffering=bool(os.environ.get("PYTHONUNBUFFERED")) or raw.isatty(),
    )


def give_up() -> None:
    """Let what is still held for standard output go nowhere: the interpreter writes it when it ends."""
    _take(1, os.O_WRONLY)


def _take(number: int, mode: int) -> None:
    nowhere = os.open(os.devnull, mode)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
