"""Scores in Redis or Valkey, shared by processes and kept over restarts. Never the truth.

Delivery: best effort. Ordering: none. Idempotence: storing twice is harmless. Raises: nothing; a server that is
away, full or flushed finds nothing and keeps nothing, with one log line a change of state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata

import msgspec
import redis
import structlog
import xxhash
from pydantic import SecretStr

from pipeline.errors import ConfigurationError
from pipeline.scoring.engine import Score

log = structlog.get_logger()

#: A score that nobody has asked for in this time is forgotten.
KEEP_S = 7 * 86_400
#: Seconds that a server which failed is left alone: scoring must not wait for it.
REST_S = 5.0
_TIMEOUT_S = 0.25


class RedisCache:
    """A `SharedCache` on one server; keys are the model version and a hash of the scored text."""

    def __init__(self, url: Callable[[], SecretStr]) -> None:
        """Opens no connection yet. `url` says where the server is; it is asked again when the server was away.

        Raises ConfigurationError for what is no URL of a Redis.
        """
        self._url = url
        self._client = _client(url())
        self._decoder = msgspec.msgpack.Decoder(tuple[float, str])
        self._rest_until = 0.0
        self._away = False

    def find(self, version: str, texts: Sequence[str]) -> Mapping[str, Score]:
        if not texts or time.monotonic() < self._rest_until:
            return {}
        try:
            values = self._client.mget([_key(version, text) for text in texts])
            found = {}
            for text, value in zip(texts, values, strict=True):
                score = Score(*self._decoder.decode(value)) if isinstance(value, bytes) else None
                if score is not None and 0 <= score.probability <= 1:  # others may write there
                    found[text] = score
        except (redis.RedisError, OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._rest(error)
            return {}
        self._back()
        return found

    def store(self, version: str, scores: Mapping[str, Score]) -> None:
        if time.monotonic() < self._rest_until:
            return
        try:
            with self._client.pipeline(transaction=False) as commands:
                for text, score in scores.items():
                    commands.set(_key(version, text), msgspec.msgpack.encode(tuple(score)), ex=KEEP_S)
                commands.execute()
        except (redis.RedisError, OSError) as error:
            self._rest(error)

    def _rest(self, error: Exception) -> None:
        self._rest_until = time.monotonic() + REST_S
        if not self._away:
            log.warning("cache_unavailable", error=type(error).__name__)
        self._away = True
        self._client.close()
        self._client = _client(self._url())

    def _back(self) -> None:
        if self._away:
            log.info("cache_available")
        self._away = False


def _client(url: SecretStr) -> redis.Redis:
    try:
        return redis.Redis.from_url(
            url.get_secret_value(), socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
        )
    except ValueError:
        raise ConfigurationError("redis_url is no URL of a Redis; write redis://user:password@host:6379") from None


#: Another release may score another way with the same weights (templates, topics, the second look).
_RELEASE = metadata.version("tocsin")


def _key(version: str, text: str) -> bytes:
    digest = xxhash.xxh3_128_digest(text.encode("utf-8", "surrogatepass"))
    return f"tocsin:score:{_RELEASE}:{version}:".encode() + digest
