"""Files that are written whole or not at all, and folders that are tried before an hour's work is to go there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from pipeline.errors import ModelError, UsageError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write to, which then replaces `path`; when that fails it is gone. Raises ModelError with the cause."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def check_folder(folder: Path) -> None:
    """Make `folder`, and a file in it that is removed again. Raises UsageError when one of them cannot be made."""
    probe = folder / f".probe.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"\n")
        probe.unlink()
    except OSError as error:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
        raise UsageError(f"nothing can be written in {folder}: {error.strerror}; name another folder") from error
