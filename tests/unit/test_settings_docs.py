"""Every setting is in the docs, with its default."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.settings import Settings

_DOCS = Path(__file__).resolve().parents[2] / "docs"
#: Settings of one runtime stand on its page.
_PAGES = "".join((_DOCS / name).read_text() for name in ("operating.md", "operations.md"))


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_is_explained(name: str) -> None:
    assert f"`{name}`" in _PAGES


@pytest.mark.parametrize("name", ["kafka_raw_partitions", "kafka_signal_partitions", "kafka_replication", "buckets"])
def test_the_default_of_a_number_that_is_fixed_for_good_is_the_one_in_the_docs(name: str) -> None:
    row = next(line for line in _PAGES.splitlines() if line.startswith(f"| `{name}` | `"))
    assert row.split("|")[2].strip(" `") == str(Settings.model_fields[name].default)
