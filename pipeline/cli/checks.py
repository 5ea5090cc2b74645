"""What `tocsin doctor` looks at: each check says what it found, and raises where that is wrong."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.errors import TocsinError

if TYPE_CHECKING:
    from pipeline.scoring.engine import Engine

_LOW_DISK_BYTES = 2 * 2**30


class Note(Exception):
    """Something to know that stops nothing."""


def _python() -> str:
    return f"{sys.version.split()[0]}, {os.cpu_count()} processors"


def _settings() -> str:
    from pipeline.settings import check_push, load

    settings = load()
    check_push(settings)
    return f"data in {settings.data.absolute()}, push API on {settings.host}:{settings.port}"


def _environment() -> str:
    from pipeline.cli.variables import misnamed

    if found := misnamed(os.environ):
        raise Note(f"read by nothing: {'; '.join(found)}")
    return "every variable TOCSIN_* is read"


def _streams() -> str:
    from pipeline.settings import load
    from pipeline.stream_file import load as load_streams

    settings = load()
    file = load_streams(settings.streams)
    return f"{', '.join(file.streams)} from {settings.streams or 'the built-in file'}"


def _engines() -> str:
    from model.engines.choose import choose, options, this_machine

    machine = this_machine()
    flags = f"flags of the CPU: {', '.join(sorted(machine.cpu_flags)) or 'none that matter'}"
    can = "; ".join(f"{name}: {said}" for name, said in options(machine).items())
    _, why = choose("auto", machine)
    return f"{flags}. {can}. auto takes {why}"


def _classifier() -> str:
    from model.engines.choose import choose
    from pipeline.runtime.classifier import loader
    from pipeline.settings import load

    settings = load()
    _, why = choose(settings.engine)
    return f"{why}; {_scoring(loader(settings, None)(settings.model))}"


def _scoring(engine: Engine) -> str:
    (score,) = engine.score(engine.encode(["earthquake kills 200 in the north"], "news"))
    return f"version {engine.version}; an earthquake scores {score.probability:.2f}"


def _disk() -> str:
    from pipeline.runtime.datafolder import DataFolder
    from pipeline.settings import load

    folder = DataFolder(load().data).path
    free = shutil.disk_usage(folder).free
    if free < _LOW_DISK_BYTES:
        raise TocsinError(f"only {free / 2**30:.1f} GB are free in {folder}; the journal needs room")
    return f"{free / 2**30:.0f} GB free in {folder}"


def _database() -> str:
    from sqlalchemy import text

    from alerts.store import transaction
    from pipeline.cli.database import database

    with database() as db, transaction(db.engine) as connection:
        version = connection.scalar(text("show server_version"))
    own = db.settings.database_url is None
    return f"Postgres {version}, {'Tocsin runs its own' if own else 'configured'}, schema up to date"


def _live() -> str:
    from alerts import model_versions
    from alerts.store import transaction
    from pipeline.cli.classifiers import stored_classifier
    from pipeline.cli.database import database
    from pipeline.runtime.classifier import loader

    with database() as db:
        with transaction(db.engine) as connection:
            promoted = model_versions.live(connection)
        if promoted is None:
            return "no classifier was promoted"
        if db.settings.model is not None:
            raise Note(f"version {promoted} was promoted, but the settings name {db.settings.model}: that is what runs")
        return _scoring(loader(db.settings, None)(stored_classifier(db, promoted)))


def _kafka() -> str:
    from pipeline.settings import load
    from pipeline.stream_file import load as load_streams

    settings = load()
    if not settings.kafka:
        return "none configured: Tocsin runs in one process on this machine"
    from confluent_kafka import libversion

    from pipeline.kafka.cluster import Cluster
    from pipeline.kafka.topic_admin import TopicAdmin

    cluster = Cluster(settings, call_s=8.0)
    said = f"cluster {cluster.id()} at {settings.kafka}, brokers: {cluster.brokers()}, client {libversion()[0]}"
    found = TopicAdmin(settings, load_streams(settings.streams).streams.values()).check()
    wrong = [difference for differences in found.values() for difference in differences]
    if wrong:
        raise TocsinError(f"{said}; {wrong[0]}; `tocsin topics check` shows all {len(wrong)} differences")
    return f"{said}; all {len(found)} topics of {settings.kafka_prefix}.* are as they must be"


def _cache() -> str:
    import redis

    from pipeline.runtime.datafolder import DataFolder
    from pipeline.servers.valkey import local_valkey
    from pipeline.settings import load

    settings = load()
    if settings.redis_url is None and settings.kafka:
        return "none is configured: each scoring worker has a cache of its own"
    if settings.redis_url is None:
        with local_valkey(DataFolder(settings.data).valkey) as url:
            redis.Redis.from_url(url).ping()
        return "Tocsin runs its own Valkey"
    try:
        redis.Redis.from_url(settings.redis_url.get_secret_value(), socket_timeout=3).ping()
    except (redis.RedisError, OSError, ValueError) as error:
        raise TocsinError(f"redis_url does not answer ({type(error).__name__}); only speed is lost") from None
    return "the configured Redis answers"


#: Each by what it is about, in the order in which they are told.
CHECKS: dict[str, Callable[[], str]] = {
    "python": _python,
    "settings": _settings,
    "environment": _environment,
    "streams": _streams,
    "engines": _engines,
    "classifier": _classifier,
    "disk": _disk,
    "kafka": _kafka,
    "database": _database,
    "live": _live,
    "cache": _cache,
}
