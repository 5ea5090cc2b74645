"""Settings: environment over file over default; what is wrong is named, secrets are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ConfigurationError
from pipeline.settings import check_push, load


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("TOCSIN_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "tocsin.toml").write_text('port = 1234\nbuckets = 3\negress_allow = ["10.0.0.0/8"]\n')
    monkeypatch.setenv("TOCSIN_PORT", "99")
    settings = load()
    assert (settings.port, settings.buckets, settings.checkpoint_s) == (99, 3, 1.0)
    assert settings.egress_allow == ["10.0.0.0/8"]
    assert load(port=7).port == 7
    assert load(port=None).port == 99


def test_a_secret_is_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "PUSH_TOKEN"):
        monkeypatch.setenv(f"TOCSIN_{name}", "hunter2hunter2")
    settings = load()
    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump()}"
    assert settings.push_token is not None
    assert settings.push_token.get_secret_value() == "hunter2hunter2"


def test_a_wrong_value_is_named_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOCSIN_BUCKETS", "hunter2")
    with pytest.raises(ConfigurationError, match=r"setting 'buckets' \(TOCSIN_BUCKETS") as refused:
        load()
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("text", ["bucketz = 3\n", "[data]\nx = 1\n", "port = 70000\n"])
def test_a_wrong_setting_in_the_file_is_named_with_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "tocsin.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"tocsin\.toml") as refused:
        load()
    assert text.strip("[\n").split()[0].strip("]") in str(refused.value)


def test_a_secret_of_the_wrong_type_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "tocsin.toml").write_text("push_token = 987654321\n")
    with pytest.raises(ConfigurationError, match="push_token") as refused:
        load()
    assert "987654321" not in str(refused.value)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "tocsin.toml").write_text("port = \n")
    with pytest.raises(ConfigurationError, match=r"tocsin\.toml"):
        load()


def test_a_named_file_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOCSIN_CONFIG", "nowhere.toml")
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml, which does not exist"):
        load()


@pytest.mark.parametrize("given", ["1.2.3.4", '"1.2.3.4"', "", "{}"])
def test_what_is_no_list_of_networks_says_how_one_is_written(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("TOCSIN_EGRESS_ALLOW", given)
    with pytest.raises(ConfigurationError, match=r'TOCSIN_EGRESS_ALLOW.*write a list: \["1\.2\.3\.4"'):
        load()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "tocsin.example"])
def test_an_address_that_others_reach_needs_a_token(host: str) -> None:
    with pytest.raises(ConfigurationError, match="TOCSIN_PUSH_TOKEN"):
        check_push(load(host=host))
    with pytest.raises(ConfigurationError, match="TOCSIN_PUSH_TOKEN"):
        check_push(load(host=host, push_token=""))
    check_push(load(host=host, push_token="t"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_a_loopback_address_needs_no_token(host: str) -> None:
    check_push(load(host=host))
