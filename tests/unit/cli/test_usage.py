"""How commands are called: mistakes end with exit code 2 before anything starts, help shows an example."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pipeline.cli import commands
from pipeline.cli.main import app
from pipeline.errors import ConfigurationError, UsageError

commands.register(app)
RUNNER = CliRunner()
NOTHING_SET = {name: None for name in os.environ if name.startswith("TOCSIN_")}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("up --engine x", "'auto', 'openvino', 'onnxruntime', 'torch', 'null'"),
        ("demo --engine x", "'auto', 'openvino', 'onnxruntime', 'torch', 'null'"),
        ("bench pipeline --engine x", "'auto', 'openvino', 'onnxruntime', 'torch', 'null'"),
        ("replay x --engine x", "'auto', 'openvino', 'onnxruntime', 'torch', 'null'"),
        ("score --kind tweets", "'news', 'logs', 'health', 'indicator'"),
        ("up --port 65536", "65535"),
        ("up --streams no-such-file.toml", "'no-such-file.toml' does not exist"),
        ("replay x --streams no-such-file.toml", "'no-such-file.toml' does not exist"),
    ],
)
def test_an_option_that_cannot_be_meant_is_a_usage_error(arguments: str, said: str) -> None:
    result = RUNNER.invoke(app, arguments.split())
    assert result.exit_code == 2
    assert said in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("score --model no-such-folder", "no-such-folder is neither a folder nor a version"),
        ("replay", "name files to replay"),
        ("replay x --recorded", "--recorded takes no files"),
        ("replay --recorded --tick 5m", "no options but --stream and --json"),
        ("replay --recorded --dead", "no options but --stream and --json"),
        ("replay x --stream logs --text-column=", "a column needs a name"),
        ("replay --from yesterdayish --to 2026-11-02", "--from 'yesterdayish'"),
        ("replay --from 2026-11-02 --to 2026-11-01", "is not before --to"),
        ("replay --from 2026-11-01", "say both --from and --to"),
        ("replay --from 2026-11-01 --to 2026-11-02 x", "take no files"),
        ("replay --from 2026-11-01 --to 2026-11-02 --tick 5m", "no options but --stream, --into"),
        ("replay --from 2026-11-01 --to 2026-11-02 --recorded", "leave it out"),
        ("replay --from 2026-11-01 --to 2026-11-02 --into live", "never writes into the live run"),
        ("replay --from 2026-11-01 --to 2026-11-02 --into a/b", "a run is named with"),
        ("replay --from 2026-11-01 --to 2026-11-02 --deliver", "--deliver goes with --into"),
        ("replay --from 2026-11-01 --to 2026-11-02 --rescore no-such", "no such folder, no version and no engine"),
        ("replay --into x", "go with --from and --to"),
        ("archive --forget-before 2025-01-01 --follow", "archives nothing"),
        ("archive --forget-before soon", "--forget-before 'soon'"),
        ("archive --every 5m", "--every goes with --follow"),
        ("archive --follow --every soon", "--every: 'soon' is no duration"),
        ("dead-letters retry", "or say --all"),
        ("dead-letters retry 7 --all", "not both"),
    ],
)
def test_arguments_that_do_not_go_together_are_a_usage_error(arguments: str, said: str) -> None:
    result = RUNNER.invoke(app, arguments.split(), env=NOTHING_SET)
    assert isinstance(result.exception, UsageError)
    assert said in str(result.exception)


def test_an_api_that_others_reach_without_a_token_is_refused_before_anything_starts(tmp_path: Path) -> None:
    data = tmp_path / "data"
    result = RUNNER.invoke(app, ["up", "--host", "0.0.0.0", "--engine", "null", "--data", str(data)], env=NOTHING_SET)
    assert isinstance(result.exception, ConfigurationError)
    assert "TOCSIN_PUSH_TOKEN" in str(result.exception)
    assert not data.exists()


def every_command(group: typer.Typer, *before: str) -> Iterator[tuple[str, ...]]:
    for one in group.registered_commands:
        assert one.callback is not None
        yield (*before, one.name or one.callback.__name__)
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from every_command(inner.typer_instance, *before, str(inner.name))


@pytest.mark.parametrize("command", sorted(set(every_command(app))), ids=" ".join)
def test_the_help_of_every_command_has_an_example(command: tuple[str, ...]) -> None:
    result = RUNNER.invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert re.search(rf"tocsin {' '.join(command)}\b", result.output.partition("Example:")[2]), result.output
