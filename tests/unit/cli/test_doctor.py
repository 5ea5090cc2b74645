"""`tocsin doctor`: what it says about engines, settings and the environment."""

from __future__ import annotations

import pytest

from model.engines import cpu
from model.engines.choose import choose
from pipeline.cli import checks, doctor
from pipeline.cli.variables import misnamed
from pipeline.errors import ConfigurationError, TocsinError
from pipeline.settings import Settings


def test_it_names_the_flags_every_engine_and_the_one_that_auto_takes() -> None:
    said = checks._engines()
    assert all(flag in said for flag in cpu.flags())
    assert all(f"{name}: " in said for name in ("openvino", "onnxruntime", "torch"))
    assert said.endswith(f"auto takes {choose('auto')[1]}")


def test_one_wrong_setting_is_said_once() -> None:
    def wrong() -> str:
        raise ConfigurationError("setting 'engine' is wrong")

    def other() -> str:
        raise TocsinError("no room")

    found = doctor._findings(
        {"python": lambda: "3", "settings": wrong, "streams": wrong, "disk": other, "cache": wrong}
    )
    assert [(one.what, one.mark, one.said) for one in found] == [
        ("python", "ok", "3"),
        ("settings", "BAD", "setting 'engine' is wrong"),
        ("streams", "-", "not looked at: see settings"),
        ("disk", "BAD", "no room"),
        ("cache", "-", "not looked at: see settings"),
    ]
    assert [one.fine for one in found] == [True, False, False, False, False]


def test_a_variable_that_nothing_reads_is_told_with_the_nearest_and_without_its_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOCSIN_BATCHTOKENS", "hunter2")
    (found,) = doctor._findings({"environment": checks._environment})
    assert (found.mark, found.fine) == ("note", True)
    assert "TOCSIN_BATCHTOKENS, did you mean TOCSIN_BATCH_TOKENS?" in found.said
    assert "hunter2" not in found.said


def test_what_the_settings_and_the_tools_read_is_no_wrong_name() -> None:
    assert misnamed(f"TOCSIN_{field.upper()}" for field in Settings.model_fields) == []
    assert misnamed(["tocsin_engine", "TOCSIN_CONFIG", "TOCSIN_STREAMS_FILE", "TOCSIN_BENCH_APP", "PATH"]) == []
    assert misnamed(["TOCSIN_XYZZY"]) == ["TOCSIN_XYZZY"]
    assert misnamed(["tocsin_enginee"]) == ["tocsin_enginee, did you mean TOCSIN_ENGINE?"]
