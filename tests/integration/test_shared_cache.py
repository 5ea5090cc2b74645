"""Scores in Valkey: found again, forgotten at any moment, never believed when they make no sense."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import msgspec
import pytest
import redis
from pydantic import SecretStr
from structlog.testing import capture_logs

import pipeline.servers.shared_cache
from pipeline.errors import ConfigurationError
from pipeline.scoring.engine import Score
from pipeline.servers.shared_cache import RedisCache
from pipeline.servers.valkey import local_valkey

SCORES = {"disk failed": Score(0.9, "infrastructure"), "": Score(0.0, "other"), "\ud800": Score(1.0, "x")}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with local_valkey(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture
def client(server: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server) as made:
        made.flushall()
        yield made


@pytest.fixture
def cache(server: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> RedisCache:
    monkeypatch.setattr(pipeline.servers.shared_cache, "REST_S", 0.0)
    monkeypatch.setattr(pipeline.servers.shared_cache, "_TIMEOUT_S", 5.0)
    return RedisCache(lambda: SecretStr(server))


def test_what_was_stored_is_found_under_its_model_version(cache: RedisCache) -> None:
    cache.store("m1", SCORES)
    assert cache.find("m1", [*SCORES, "unknown"]) == SCORES
    assert cache.find("m2", list(SCORES)) == {}
    assert cache.find("m1", []) == {}


def test_the_scores_of_another_release_are_not_found(cache: RedisCache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.store("m1", SCORES)
    monkeypatch.setattr(pipeline.servers.shared_cache, "_RELEASE", "another")
    assert cache.find("m1", list(SCORES)) == {}


def test_scores_expire_and_texts_are_not_stored(cache: RedisCache, client: redis.Redis) -> None:
    cache.store("m1", SCORES)
    (key, *_) = client.keys("*")
    assert 0 < client.ttl(key) <= 7 * 86_400
    assert not any(b"disk" in key for key in client.keys("*"))


def test_a_flushed_server_finds_nothing_and_goes_on(cache: RedisCache, client: redis.Redis) -> None:
    cache.store("m1", SCORES)
    client.flushall()
    assert cache.find("m1", list(SCORES)) == {}
    cache.store("m1", SCORES)
    assert cache.find("m1", list(SCORES)) == SCORES


@pytest.mark.parametrize(
    "poison",
    [
        b"",
        b"\xff",
        msgspec.msgpack.encode((0.5,)),
        msgspec.msgpack.encode((2.0, "x")),
        msgspec.msgpack.encode((-0.1, "x")),
        msgspec.msgpack.encode((float("nan"), "x")),
        msgspec.msgpack.encode(("0.5", "x")),
        b"\x92\xcb?\xe0\x00\x00\x00\x00\x00\x00\xa1\xff",
    ],
)
def test_what_someone_else_wrote_is_not_believed(cache: RedisCache, client: redis.Redis, poison: bytes) -> None:
    cache.store("m1", {"a": Score(0.5, "x")})
    (key,) = client.keys("*")
    client.set(key, poison)
    assert cache.find("m1", ["a"]) == {}
    client.set(key, msgspec.msgpack.encode((0.25, "x")))
    assert cache.find("m1", ["a"]) == {"a": Score(0.25, "x")}


def test_a_value_of_another_type_is_nothing(cache: RedisCache, client: redis.Redis) -> None:
    cache.store("m1", {"a": Score(0.5, "x")})
    (key,) = client.keys("*")
    client.delete(key)
    client.lpush(key, "x")
    assert cache.find("m1", ["a"]) == {}


def test_a_server_that_is_away_is_left_alone_and_told_once(monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    asked = 0

    def url() -> SecretStr:
        nonlocal asked
        asked += 1
        return SecretStr("redis://127.0.0.1:1")

    cache = RedisCache(url)
    with capture_logs() as logs:
        for _ in range(5):
            assert cache.find("m1", ["a"]) == {}
            cache.store("m1", {"a": Score(0.5, "x")})
        assert asked == 2  # at first, and once for where it might be now; then it rests
        monkeypatch.setattr(pipeline.servers.shared_cache, "REST_S", 0.0)
        cache._rest_until = 0.0
        assert cache.find("m1", ["a"]) == {}
    assert [entry["event"] for entry in logs] == ["cache_unavailable"]


def test_a_server_that_comes_back_elsewhere_is_found(cache: RedisCache, server: str) -> None:
    urls = ["redis://127.0.0.1:1", server]
    moved = RedisCache(lambda: SecretStr(urls.pop(0)))
    with capture_logs() as logs:
        assert moved.find("m1", ["a"]) == {}
        moved.store("m1", {"a": Score(0.5, "x")})
        assert moved.find("m1", ["a"]) == {"a": Score(0.5, "x")}
    assert [entry["event"] for entry in logs] == ["cache_unavailable", "cache_available"]


def test_a_server_that_does_not_answer_holds_up_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cache = RedisCache(lambda: SecretStr(f"redis://127.0.0.1:{silent.getsockname()[1]}"))
        began = time.monotonic()
        assert cache.find("m1", ["a"]) == {}
        cache.store("m1", {"a": Score(0.5, "x")})
        assert time.monotonic() - began < 5


def test_a_url_that_is_none_is_a_configuration_error_without_its_password() -> None:
    with pytest.raises(ConfigurationError, match="redis://user:password@host") as refused:
        RedisCache(lambda: SecretStr("valkey.example.org:6379/hunter2"))
    assert "hunter2" not in str(refused.value)
