"""Commands configure the log of their process; in tests that is everybody's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

#: Tests never time: on a busy machine an example takes what it takes.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

pytest_plugins = ["stores", "brokers"]


@pytest.fixture(autouse=True)
def _the_log_stays_as_it_was() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)
