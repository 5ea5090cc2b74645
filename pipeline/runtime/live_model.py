"""The classifier that is live: another one takes its place, without a restart, when another version is promoted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from sqlalchemy import Engine as Database

from alerts import model_versions
from alerts.store import transaction
from model import registry
from pipeline.errors import StoreUnavailable
from pipeline.runtime.model_folder import ModelFolder
from pipeline.scoring.engine import Engine
from pipeline.scoring.turns import EngineInTurns

log = structlog.get_logger()

#: Seconds between two looks at which version is live.
LOOK_EVERY_S = 5.0


class LiveModel:
    """`engine` is the one to score with from now on. Whoever scores asks for it between slices: what is under way is
    finished by the one that began it."""

    def __init__(self, engine: Engine, database: Database, folder: ModelFolder, load: Callable[[Path], Engine]) -> None:
        """`engine` runs the shipped classifier, or one that is not to be followed."""
        self.engine = EngineInTurns(engine)
        self._database = database
        self._folder = folder
        self._load = load
        self._version = registry.load().description.version
        self._trouble = ""

    def look(self) -> None:
        """Load the live version if it is another one. Raises ModelError, StoreUnavailable; then the old one goes on."""
        with transaction(self._database) as connection:
            wanted = model_versions.live(connection)
            if wanted is None or wanted == self._version:
                return
            folder = self._folder.fetch(connection, wanted)
        self.engine = EngineInTurns(self._load(folder))
        self._version = wanted
        log.info("classifier_loaded", version=wanted)

    @contextmanager
    def following(self) -> Iterator[None]:
        """Look every few seconds until the block ends."""
        stop = threading.Event()
        thread = threading.Thread(target=self._follow, args=(stop,), name="live model", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _follow(self, stop: threading.Event) -> None:
        while not stop.wait(LOOK_EVERY_S):
            try:
                self.look()
                self._trouble = ""
            except StoreUnavailable:
                continue  # others say so
            except Exception as error:  # what cannot be loaded leaves what runs in its place
                if str(error) != self._trouble:
                    log.error("classifier_not_loaded", error=str(error), kind=type(error).__name__)
                self._trouble = str(error)
