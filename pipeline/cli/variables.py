"""Variables of the environment that look like settings and are none."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from pipeline.settings import Settings

_PREFIX = "TOCSIN_"
#: What else reads variables of this prefix: the file of the settings, the compose file, the examples.
_OTHERS = frozenset(
    f"{_PREFIX}{name}" for name in ("CONFIG", "STREAMS_FILE", "API_PORT", "LOCAL_PORT", "SECRET", "URL")
)
_OF_TOOLS = (f"{_PREFIX}BENCH_", f"{_PREFIX}TEST_")


def misnamed(names: Iterable[str]) -> list[str]:
    """What to say of each name that nothing reads, with the nearest one; values are not looked at."""
    settings = [f"{_PREFIX}{field.upper()}" for field in Settings.model_fields]
    said = []
    for name in sorted(names):
        plain = name.upper()  # settings are found in any capitals
        if not plain.startswith(_PREFIX) or plain.startswith(_OF_TOOLS) or plain in _OTHERS or plain in settings:
            continue
        near = get_close_matches(plain.removeprefix(_PREFIX), [each.removeprefix(_PREFIX) for each in settings], 1)
        said.append(f"{name}, did you mean {_PREFIX}{near[0]}?" if near else name)
    return said
