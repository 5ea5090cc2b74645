"""The classifier of a Kafka worker: the live version, on whichever machine it was promoted."""

from __future__ import annotations

from contextlib import ExitStack

from alerts import schema
from alerts.store import create_engine
from pipeline.kafka.worker import Context
from pipeline.runtime.classifier import loader
from pipeline.runtime.live_model import LiveModel
from pipeline.runtime.model_folder import ModelFolder
from pipeline.scoring.engine import Engine


class Classifier:
    """What scores: the engine of the live version, which Postgres knows, or the one that the settings name.

    It is not followed where settings name a classifier, where the engine is none (`null`), or without a database.
    """

    def __init__(self, context: Context, stack: ExitStack) -> None:
        """Load what the settings name, else the shipped one. `stack` ends what this begins. Raises ModelError."""
        settings = context.settings
        load = loader(settings, context.file.topics)
        self._stack = stack
        self._url = settings.database_url
        self._live: LiveModel | None = None
        self._fixed: Engine | None = load(settings.model)
        if self._url is not None and settings.model is None and self._fixed.name != "null":
            database = create_engine(self._url, pool_size=1)
            stack.callback(database.dispose)
            self._live = LiveModel(self._fixed, database, ModelFolder(settings.data / "models"), load)
            self._fixed = None  # what a promotion replaces, nobody else may hold

    def follow(self) -> None:
        """Take the live version now, and follow promotions. Raises StoreUnavailable, StateMismatch, ModelError: then
        it may be called again."""
        if self._live is not None:
            assert self._url is not None
            schema.upgrade(self._url)
            self._live.look()
            self._stack.enter_context(self._live.following())

    def now(self) -> Engine:
        """The engine to score with from now on."""
        if self._live is not None:
            return self._live.engine
        assert self._fixed is not None
        return self._fixed
