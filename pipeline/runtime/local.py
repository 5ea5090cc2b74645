"""The local runtime: everything in one process. The composition root of `tocsin up`.

Order of start: lock, servers, schema, journals, worker, deliveries, sources, push API. Order of stop: the reverse
of what feeds what: no more items, then what is folded is stored, then what is under way is delivered.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import structlog

from alerts import schema
from alerts.egress import Allowed
from alerts.keyring import Keyring
from alerts.retention import Retention
from alerts.routing import LIVE_RUN
from alerts.store import create_engine
from alerts.worker import DeliveryWorker
from pipeline.clock import now_us
from pipeline.errors import ConfigurationError
from pipeline.metrics import registry_of
from pipeline.runtime.checkpoint import CheckpointStore
from pipeline.runtime.classifier import loader
from pipeline.runtime.datafolder import DataFolder
from pipeline.runtime.intake import Intake
from pipeline.runtime.keeper import Keeper
from pipeline.runtime.live_model import LiveModel
from pipeline.runtime.model_folder import ModelFolder
from pipeline.runtime.partitions import Partitions, partition_of
from pipeline.runtime.run_claim import RunClaim, claim_run
from pipeline.runtime.serving import listening
from pipeline.runtime.worker import Worker
from pipeline.scoring.engine import Engine
from pipeline.scoring.scorer import Scorer
from pipeline.scoring.text_scores import TextScores
from pipeline.servers.servers import running_servers
from pipeline.servers.shared_cache import RedisCache
from pipeline.settings import Settings
from pipeline.sources.push import PushTarget, create_app
from pipeline.stream_file import StreamFile

log = structlog.get_logger()

#: Seconds that each part gets to finish when the process is told to stop; together less than ten.
STOP_S = 3.0


class LocalRuntime:
    """A running pipeline; made by `running`."""

    def __init__(self, *, url: str, database_url: str, engine: str, worker: Worker, claim: RunClaim) -> None:
        #: Where the push API listens.
        self.url = url
        #: The name of the engine.
        self.engine = engine
        self.database_url = database_url
        self._worker = worker
        self._claim = claim

    @property
    def error(self) -> BaseException | None:
        """What stopped the pipeline, or must stop it: another process writes to its database."""
        if self._worker.error is None and self._claim.trouble:
            return ConfigurationError(self._claim.trouble)
        return self._worker.error

    def behind(self) -> int:
        """Accepted entries that are not folded yet."""
        return self._worker.behind()

    def stored(self) -> bool:
        """Whether everything that is folded is in the database as well."""
        return self._worker.stored()


@contextmanager
def running(settings: Settings, file: StreamFile, load: Callable[[], Engine]) -> Iterator[LocalRuntime]:
    """A pipeline that runs until the block ends, and has then stored and delivered what it could. `load` gives the
    engine to begin with, before anything else begins; where nobody else holds it, its memory is free once a promotion
    has replaced it.

    Raises ModelError, DataFolderLocked, ConfigurationError, ServerStartFailed, StoreUnavailable, JournalError.
    """
    engine = load()
    folder = DataFolder(settings.data)
    with ExitStack() as stack:
        stack.enter_context(folder.locked())
        servers = stack.enter_context(running_servers(settings, folder))
        schema.upgrade(servers.database_url)
        database = create_engine(servers.database_url, pool_size=6)
        servers.follow(database)
        stack.callback(database.dispose)
        claim = stack.enter_context(claim_run(database, LIVE_RUN, folder.id()))
        partitions = Partitions(folder.journal, file.streams, now_us=now_us())
        stack.callback(partitions.close)
        deliveries = DeliveryWorker(
            database,
            Keyring(settings.secret_key or folder.secret_key()),
            Allowed.parse(settings.egress_allow, http=settings.egress_http),
        )
        # One engine for the worker and POST /v1/score; another one when another version is promoted.
        live = LiveModel(engine, database, ModelFolder(folder.models), loader(settings, file.topics))
        follows = settings.model is None and engine.name != "null"
        del engine  # `live` alone holds it
        if follows:
            live.look()
            stack.enter_context(live.following())
        scorer = Scorer(
            live.engine,
            cache_entries=settings.cache_entries,
            batch_tokens=settings.batch_tokens,
            shared=RedisCache(lambda: servers.redis_url),
            live=lambda: live.engine,
        )
        worker = Worker(
            file.streams,
            partitions,
            run=LIVE_RUN,
            buckets=settings.buckets,
            scorer=scorer,
            store=CheckpointStore(database, LIVE_RUN),
            scores=folder.scores,
            checkpoint_s=settings.checkpoint_s,
            slice_items=settings.slice_items,
            stored=deliveries.wake,
        )
        intake = Intake(file.streams, partitions)
        keeper = Keeper(
            file.streams,
            partitions,
            intake,
            servers,
            database,
            run=LIVE_RUN,
            scores=folder.scores,
            positions=worker.positions,
            stored=worker.stored_positions,
            kept=Retention.of(settings),
            wake_deliveries=deliveries.wake,
        )
        stack.enter_context(_delivering(deliveries))
        worker.start()
        stack.callback(_stop_worker, worker)
        intake.start()
        stack.callback(intake.stop, STOP_S)
        keeper.start()
        stack.callback(keeper.stop, STOP_S)
        app = create_app(
            _targets(file, partitions),
            settings,
            clock=now_us,
            scores=lambda: TextScores(
                live.engine,
                cache_entries=settings.cache_entries,
                batch_tokens=settings.batch_tokens,
                live=lambda: live.engine,
            ),
            states=_states(worker, claim),
            registry=registry_of(worker.facts),
        )
        url = stack.enter_context(listening(app, settings, finish_s=STOP_S))
        yield LocalRuntime(
            url=url,
            database_url=servers.database_url.get_secret_value(),
            engine=live.engine.name,
            worker=worker,
            claim=claim,
        )


def _stop_worker(worker: Worker) -> None:
    if not worker.stop(STOP_S):
        log.warning("worker_cut_off", reason="it did not finish in time; the next start goes on from its checkpoint")


@contextmanager
def _delivering(deliveries: DeliveryWorker) -> Iterator[None]:
    """Deliver on an event loop of its own thread."""
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(deliveries.run(stop)), name="deliveries", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(STOP_S)
        if not thread.is_alive():
            loop.close()


def _targets(file: StreamFile, partitions: Partitions) -> dict[str, PushTarget]:
    """Where the push API writes to: each source is one raw partition here."""
    return {
        name: PushTarget(
            definition=definition,
            journals={
                source.name: [partitions[partition_of(definition, source)]]
                for source in definition.sources
                if source.kind == "push"
            },
            clocks={source.name: [partitions[partition_of(definition, source)]] for source in definition.sources},
        )
        for name, definition in file.streams.items()
    }


def _states(worker: Worker, claim: RunClaim) -> Callable[[], dict[str, str]]:
    def states() -> dict[str, str]:
        trouble = worker.trouble if worker.is_alive() else f"stopped: {worker.error}"
        return {"worker": trouble or "ok", "database": claim.trouble or "ok"}

    return states
