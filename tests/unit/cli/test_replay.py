"""`tocsin replay`: options make a definition by the rules of the stream file."""

from __future__ import annotations

import pytest

from pipeline.cli.replayed_files import _adapted
from pipeline.errors import UsageError
from pipeline.streams import Definition

STREAM = Definition(name="s", kind="logs", tick_us=60_000_000, group=("host",), columns={"host": "node"})


def adapted(**options: object) -> Definition:
    given: dict[str, object] = {
        "columns": {},
        "tick": None,
        "count": None,
        "group": [],
        "member": [],
        "threshold": None,
    }
    return _adapted(STREAM, **(given | options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"group": [","]}, "--group: a name has no comma"),
        ({"group": [""]}, "--group: a name has no comma and no colon, and is not empty"),
        ({"member": ["a:b"]}, "--member: a name has no comma"),
        ({"group": ["host", "host"]}, "--group: group and member name a dimension twice"),
        ({"member": ["host"]}, "--group: group and member name a dimension twice"),
        ({"tick": "0s"}, '--tick: must be at least "1s"'),
        ({"tick": "400d"}, '--tick: must be at most "366d"'),
        ({"tick": "soon"}, "--tick: 'soon' is no duration"),
        ({"threshold": float("nan")}, "--threshold: must lie between 0 and 1"),
        ({"count": "median"}, '--count is "share" or "number"'),
        (
            {"columns": {"hots": "h"}},
            "--column: 'hots' is no field of an item and no dimension of this stream; did you",
        ),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        adapted(**options)
    assert said in str(refused.value)


def test_another_group_needs_no_column_of_the_old_one() -> None:
    changed = adapted(group=["region"], columns={"region": "REGION"})
    assert (changed.group, changed.columns) == (("region",), {"host": "node", "region": "REGION"})
