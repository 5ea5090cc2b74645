"""A `tocsin up` for each test, in a folder that Postgres may read as another user."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from upper import Upper


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Upper]:
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(0o755)  # Postgres may run as another user
    upper = Upper(tmp_path)
    yield upper
    upper.end()
