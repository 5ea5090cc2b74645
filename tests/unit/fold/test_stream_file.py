"""The stream file: refused as a whole, with the line and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import streams
from pipeline.errors import ConfigurationError
from pipeline.ingest.fold import IngestFold
from pipeline.instants import DAY_US, MINUTE_US
from pipeline.keys import key_maker
from pipeline.stream_file import load, parse
from pipeline.streams import SourceDefinition

STREAM = '[streams.a]\nkind = "logs"\ntick = "1m"\n'
FEED = '[[streams.a.sources]]\nkind = "feed"\nurl = "https://example.org/rss"\n'
DIRECTORY = '[[streams.a.sources]]\nkind = "directory"\nname = "{}"\npath = "{}"\n'
PUSH = '\n[[streams.a.sources]]\nkind = "push"\n'


def refusal(text: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        parse(text, "my.toml")
    return str(refused.value)


def test_the_built_in_streams_are_usable() -> None:
    file = load(None)
    assert list(file.streams) == ["news", "logs", "health", "indicators"]
    for definition in file.streams.values():
        IngestFold(streams.Turn(1, definition), definition.clocks[0])
        key_maker(definition)


def test_a_stream_is_read_with_its_sources() -> None:
    text = (
        STREAM
        + 'lateness = "30s"\ngroup = "host"\nseasons = ["day", "week"]\nzone = "Europe/Berlin"\n'
        + '[[streams.a.sources]]\nkind = "push"\n'
        + '[[streams.a.sources]]\nname = "files"\nkind = "directory"\npath = "/var/log"\npattern = "*.log"\n'
        + '[[streams.a.sources]]\nname = "world"\nkind = "feed"\nurl = "https://example.org/rss"\nevery = "10m"\n'
        + '[topics]\nfinance = ["profit warning"]\n'
    )
    file = parse(text, "my.toml")
    a = file.streams["a"]
    assert (a.tick_us, a.lateness_us, a.group, a.seasons) == (MINUTE_US, MINUTE_US // 2, ("host",), ("day", "week"))
    assert a.clocks == ("a/push", "a/files", "a/world")
    assert a.sources[1] == SourceDefinition(name="files", kind="directory", path="/var/log", pattern="*.log")
    assert a.sources[2].every_us == 10 * MINUTE_US
    assert file.topics == {"finance": ["profit warning"]}


def test_a_definition_survives_its_control_record() -> None:
    definition = parse(STREAM + 'columns = { text = "msg" }\n' + PUSH, "f").streams["a"]
    again = streams.from_note(streams.to_note(streams.Turn(1, definition))).definition
    assert again == definition
    assert again.version == definition.version


def test_the_version_changes_with_what_folds_depend_on_and_with_nothing_else() -> None:
    base = parse(STREAM + PUSH, "f").streams["a"]
    for changed in ("threshold = 0.6", 'lateness = "1s"', 'columns = { text = "x" }', "remember_ids = 7"):
        assert parse(STREAM + changed + PUSH, "f").streams["a"].version != base.version
    for shell in ('idle_after = "9s"', 'stall_after = "1d"'):
        assert parse(STREAM + shell + PUSH, "f").streams["a"].version == base.version


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ('[stream.a]\nkind = "logs"', 1, "did you mean 'streams'?"),
        ("", 1, "no stream is defined"),
        (STREAM + "thresold = 0.5\n", 4, "did you mean 'threshold'?"),
        (STREAM + "xyz = 1\n", 4, "known: anchor, "),
        ('[streams.a]\ntick = "1m"\n', 1, 'kind = "news", "logs", "health" or "indicator"'),
        ('[streams.a]\nkind = "logs"\n', 1, 'write for example tick = "5m"'),
        ('[streams.a]\nkind = "log"\ntick = "1m"\n', 2, "'log' is not one of"),
        ('[streams.a]\nkind = "logs"\ntick = "soon"\n', 3, 'write for example "5m"'),
        ('[streams.a]\nkind = "logs"\ntick = "1ms"\n', 3, 'must be at least "1s"'),
        ('[streams.a]\nkind = "logs"\ntick = "400d"\n', 3, 'must be at most "366d"'),
        (STREAM + 'threshold = "0.5"\n', 4, "write for example 0.5"),
        (STREAM + "threshold = 50\n", 4, "between 0 and 1"),
        (STREAM + "threshold = nan\n", 4, "must be a number"),
        (STREAM + "false_alarms_a_week = inf\n", 4, "must be a number"),
        (STREAM + "remember_ids = 100000000000000000000\n", 4, "at most 1,000,000,000"),
        (STREAM + "overall = 1\n", 4, "true or false"),
        (STREAM + 'lateness = "99999999w"\n', 4, 'write for example "5m"'),
        (STREAM + "anchor = 0001-01-01\n", 4, "between 1900 and 2200"),
        (STREAM + 'anchor = "2001-01-01"\n', 4, "a date without quotes"),
        (STREAM + 'zone = "Mars/Base"\n', 4, "Europe/Berlin"),
        (STREAM + "overall = false\n", 1, "set group, or overall = true"),
        (STREAM + 'member = ["host"]\n', 4, "members need a group"),
        (STREAM + 'group = ["a,b"]\n', 4, "no comma"),
        (STREAM + 'group = [""]\n', 4, "not empty"),
        (STREAM + "columns = { text = 7 }\n", 4, "write a table of names"),
        (STREAM + 'idle_after = "1h"\nstall_after = "1m"\n', 5, "longer than idle_after"),
        (STREAM + PUSH + PUSH, 1, "two sources are named 'push'"),
        (STREAM + '[[streams.a.sources]]\nkind = "pull"\n', 5, "'pull' is not one of"),
        (STREAM + PUSH + '[[streams.a.sources]]\nname = "d"\nkind = "directory"\n', 7, "a directory source needs it"),
        (STREAM + '[[streams.a.sources]]\nkind = "feed"\nurl = "file:///etc/passwd"\n', 6, "http://HOST/"),
        (STREAM + '[[streams.a.sources]]\nkind = "feed"\nurl = "https:///rss"\n', 6, "https://HOST/"),
        (STREAM + '[[streams.a.sources]]\nkind = "feed"\nurl = "https://[::1/rss"\n', 6, "https://HOST/"),
        (STREAM + FEED + 'every = "0s"\n', 7, 'must be at least "1s"'),
        (STREAM + FEED + 'columns = { hots = "h" }\n', 7, "known: time, text, id, source, bad, total"),
        (STREAM + DIRECTORY.format("x", "/var/log") + DIRECTORY.format("y", "/var/./log/"), 11, "source 'x' reads"),
        (STREAM + DIRECTORY.format("x", "/a\\u0000"), 7, "NUL"),
        (STREAM + 'group = "host"\ncolumns = { text = "m", hots = "h" }\n', 5, "did you mean 'host'?"),
        (STREAM + 'columns = { txet = "m" }\n', 4, "did you mean 'text'?"),
        (STREAM + 'group = ["host", "host"]\n', 4, "twice"),
        (STREAM + 'group = ["host"]\nmember = ["host"]\n', 4, "twice"),
        (STREAM + '[[streams.a.sources]]\nname = "A/B"\nkind = "push"\n', 5, "use small letters"),
        ('[streams.a]\nkind = "logs"\ntick = "1m"\n[streams.b]\ntick = "1m"\n', 4, "kind"),
        ('[streams."a/b"]\nkind = "logs"\n', 1, "rename it"),
        (STREAM + '[topics]\nfinance = "x"\n', 5, "a list of example phrases"),
        (STREAM + "x = [\ny = 2", 5, "Invalid value"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_a_hint(text: str, line: int, hint: str) -> None:
    said = refusal(text)
    assert said.startswith("my.toml")
    assert f"line {line}" in said
    assert hint in said
    assert "\n" not in said


def test_one_directory_may_hold_files_of_two_sources() -> None:
    two = DIRECTORY.format("x", "/a") + 'pattern = "*.log"\n' + DIRECTORY.format("y", "/a") + 'pattern = "*.csv"\n'
    assert len(parse(STREAM + two, "f").streams["a"].sources) == 2
    assert "reads the same files" in refusal(STREAM + two.replace("*.csv", "web.log"))


_EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.toml"))


@pytest.mark.parametrize("path", [p for p in _EXAMPLES if "[streams." in p.read_text()], ids=lambda p: p.name)
def test_the_examples_are_usable(path: Path) -> None:
    assert load(path).streams


def test_a_file_nested_too_deeply_is_refused() -> None:
    assert "my.toml" in refusal("a = " + "[" * 10_000)


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "streams.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        ConfigurationError, match=r"streams\.toml" if content else r"there is no file .*streams\.toml; name"
    ):
        load(path)


def test_the_share_of_a_week_of_a_tick() -> None:
    definition = parse('[streams.a]\nkind = "logs"\ntick = "1d"\n' + PUSH, "f").streams["a"]
    assert streams.tick_share_of_week(definition) == DAY_US / (7 * DAY_US)
