"""Commands configure the log of their process; in tests that is everybody's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

pytest_plugins = ["stores", "brokers"]


@pytest.fixture(autouse=True)
def _the_log_stays_as_it_was() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)
