"""A `tocsin up` for each test, in a folder that Postgres may read as another user."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from upper import Upper


@pytest.fixture
def up() -> Iterator[Upper]:
    # Not in pytest's own folder: each new pytest session shuts others out of that, the server's user among them.
    folder = Path(tempfile.mkdtemp(prefix="tocsin-up-"))
    folder.chmod(0o755)
    upper = Upper(folder)
    try:
        yield upper
    finally:
        upper.end()
        print((folder / "up.log").read_text(errors="replace")[-4000:])  # shown when the test fails
        shutil.rmtree(folder, ignore_errors=True)
