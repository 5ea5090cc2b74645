"""`tocsin doctor`: what this machine has, what is configured, and what is wrong with it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import typer

from pipeline.cli.help import described
from pipeline.cli.output import print_json, show
from pipeline.errors import TocsinError

_LOW_DISK_BYTES = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `note`: it is fine, with something to know; `-`: it could not be looked at."""

    what: str
    mark: Literal["ok", "note", "BAD", "-"]
    said: str

    @property
    def fine(self) -> bool:
        return self.mark in ("ok", "note")


class _Note(Exception):
    """Something to know that stops nothing."""


def register(root: typer.Typer) -> None:
    root.command("doctor", help=described("Check this machine and the configuration.", "tocsin doctor --json"))(doctor)


def doctor(json: bool = typer.Option(False, "--json", help="one JSON object a line")) -> None:
    findings = _findings(_CHECKS)
    for finding in findings:
        if json:
            print_json({"what": finding.what, "ok": finding.fine, "said": finding.said})
        else:
            show(f"{finding.mark:4} {finding.what:12} {finding.said}")
    if not all(finding.fine for finding in findings):
        raise typer.Exit(1)


def _findings(checks: Mapping[str, Callable[[], str]]) -> list[Finding]:
    """What each check found; one that fails like one before it points there."""
    wrong: dict[str, str] = {}
    findings = []
    for what, check in checks.items():
        finding = _look(what, check)
        if not finding.fine and wrong.setdefault(finding.said, what) != what:
            finding = Finding(what, "-", f"not looked at: see {wrong[finding.said]}")
        findings.append(finding)
    return findings


def _look(what: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(what, "ok", check())
    except _Note as note:
        return Finding(what, "note", str(note))
    except TocsinError as error:
        return Finding(what, "BAD", str(error))


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
        raise _Note(f"read by nothing: {'; '.join(found)}")
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
    engine = loader(settings, None)(settings.model)
    (score,) = engine.score(engine.encode(["earthquake kills 200 in the north"], "news"))
    said = f"{why}; version {engine.version}; an earthquake scores {score.probability:.2f}"
    return f"{said}; `tocsin models list` shows what was promoted in its place"


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


_CHECKS: dict[str, Callable[[], str]] = {
    "python": _python,
    "settings": _settings,
    "environment": _environment,
    "streams": _streams,
    "engines": _engines,
    "classifier": _classifier,
    "disk": _disk,
    "kafka": _kafka,
    "database": _database,
    "cache": _cache,
}
