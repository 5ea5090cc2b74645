"""`run aggregate`: buckets and judges, hosted by Faust.

Faust gives out the partitions, keeps the tables and their standbys; what is exact about it is in `fold_host` and
`faust_driver`. What Faust dies of (a broker that is away, a group that breaks) is waited for, and the app begins anew
in the same process; what a fold raises ends the process.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from alerts.routing import LIVE_RUN
from pipeline.errors import BrokerUnavailable, ConfigurationError, TocsinError
from pipeline.kafka.cluster import Cluster, TopicFacts
from pipeline.kafka.faust_app import FaustApp
from pipeline.kafka.fold_host import FoldHost
from pipeline.kafka.registry import Registry
from pipeline.kafka.worker import Context

log = structlog.get_logger()

#: Seconds between two looks at what is due, and at what has died.
_TICK_S = 0.05
#: Seconds that partitions may be on the move before the app is begun anew.
_MOVING_S = 60.0
#: Seconds that an app has for its end.
_STOP_S = 3.0
_COMMIT_S = 1.0
_END_S = 0.5
_CALL_S = 2.0
_BACKOFF_S = (0.5, 1.0, 2.0, 5.0)


class _Stopped(Exception):
    """The app died of something that passes."""


def run(context: Context) -> None:
    """Count and judge until `context.stop` is set.

    Raises LogLost, UnknownRecord, StateMismatch, ConfigurationError; whatever a fold raises.
    """
    _quiet_faust()
    registry = Registry(context.settings)
    failures = 0
    with _watched(context) as cluster:
        while not context.stop.is_set():
            began = time.monotonic()
            try:
                topics = _topics(context, cluster)
                registry.read()
                context.health.ok("kafka")
                with tempfile.TemporaryDirectory(prefix="tocsin-faust-", ignore_cleanup_errors=True) as folder:
                    _live(context, registry, topics, Path(folder))
            except BrokerUnavailable as error:
                context.health.trouble("kafka", str(error))
            except _Stopped as error:
                if cluster.answers(_CALL_S):
                    log.warning("faust_restarts", worker="aggregate", error=str(error))
                else:
                    context.health.trouble("kafka", f"Kafka does not answer at {context.settings.kafka}")
            if not context.stop.is_set():
                failures = 0 if time.monotonic() - began > 60 else failures + 1
                context.stop.wait(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])


def _live(context: Context, registry: Registry, topics: dict[str, TopicFacts], folder: Path) -> None:
    """`_serve` in an event loop of its own. Faust's tasks do not all end when they are told to, and `asyncio.run` would
    wait for them for ever."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(_serve(context, registry, topics, folder))
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=_END_S))
        asyncio.set_event_loop(None)
        loop.close()


async def _serve(context: Context, registry: Registry, topics: dict[str, TopicFacts], folder: Path) -> None:
    """One life of the app. Raises _Stopped when Faust dies."""
    ids = {name: topics[name].id for name in (context.names.tallies, context.names.verdicts)}
    host = FoldHost(context, registry.definition, ids, LIVE_RUN)
    app = FaustApp(context.settings, host, folder)
    host.attach(app)
    starting = asyncio.ensure_future(app.start())
    moving_since = measure_at = time.monotonic()
    try:
        while not context.stop.is_set():
            host.check()
            if starting.done() and starting.exception() is not None:
                raise _Stopped(repr(starting.exception()))
            if app.crash is not None:
                raise _Stopped(repr(app.crash))
            now = time.monotonic()
            if starting.done() and not app.is_moving:
                moving_since = now
            elif now - moving_since > _MOVING_S:
                raise _Stopped(f"partitions have been on the move for {_MOVING_S:.0f} s")
            await host.tend()
            if now >= measure_at:
                host.measure(app.end)
                measure_at = now + 1.0
            await asyncio.sleep(_TICK_S)
        if starting.done():
            await host.close()
            await asyncio.wait([asyncio.ensure_future(app.commit())], timeout=_COMMIT_S)
    except (TocsinError, _Stopped):
        raise
    except Exception as error:
        if _is_from_kafka(error):
            raise _Stopped(repr(error)) from error
        raise
    finally:
        starting.cancel()
        await app.stop(_STOP_S)


def _is_from_kafka(error: BaseException) -> bool:
    """Whether a client raised it; what folds raise is none of it."""
    return type(error).__module__.partition(".")[0] in ("aiokafka", "faust", "mode") or isinstance(
        error, (OSError, TimeoutError, asyncio.TimeoutError)
    )


def _topics(context: Context, cluster: Cluster) -> dict[str, TopicFacts]:
    """The topics of this worker, as they are. Raises ConfigurationError where they do not fit the settings."""
    names = context.names
    parted = [names.tallies, names.verdicts, names.changelog("buckets"), names.changelog("judges")]
    facts = cluster.topics([*parted, names.surges])
    for name in parted:
        if facts[name].partitions != names.buckets:
            raise ConfigurationError(
                f"{name} has {facts[name].partitions} partitions, and TOCSIN_BUCKETS is {names.buckets}; run "
                "`tocsin topics check`"
            )
    return facts


@contextmanager
def _watched(context: Context) -> Iterator[Cluster]:
    """Tell `context.health` whether Kafka answers, from a thread of its own; the cluster."""
    cluster = Cluster(context.settings, call_s=_CALL_S)
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_CALL_S):
            if cluster.answers(_CALL_S):
                context.health.ok("kafka")
            elif not over.is_set():
                context.health.trouble("kafka", f"Kafka does not answer at {context.settings.kafka}")

    thread = threading.Thread(target=watch, name="kafka-watch", daemon=True)
    thread.start()
    try:
        yield cluster
    finally:
        over.set()


def _quiet_faust() -> None:
    """What Faust and its client log of a broker that is away would drown the one line that says so."""
    for name in ("aiokafka", "faust", "mode", "asyncio"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        logger.propagate = False
        if not logger.handlers:
            logger.addHandler(_Forward())


class _Forward(logging.Handler):
    """Warnings of the libraries, among our debug messages."""

    def emit(self, record: logging.LogRecord) -> None:
        log.debug("faust", logger=record.name, message=record.getMessage()[:500])
