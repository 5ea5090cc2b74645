"""Versions of the classifier that score nothing: hashes, under a name of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import Engine as Database

from alerts import model_versions
from alerts.store import transaction
from model import registry
from model.calibrate import Calibration
from pipeline.runtime.model_folder import ModelFolder
from pipeline.scoring.engine import Score, Tokens
from pipeline.scoring.null_engine import NullEngine


class Named(NullEngine):
    """Scores that are hashes, under a version of its own."""

    def __init__(self, version: str) -> None:
        self.name = "hash"
        self.version = version
        self.meanwhile: Callable[[], None] = lambda: None

    def score(self, batch: Sequence[Tokens]) -> list[Score]:
        self.meanwhile()
        return super().score(batch)


def load(folder: Path | None) -> Named:
    """A stand-in under the version of what lies in a folder."""
    return Named("shipped" if folder is None else registry.load(folder).description.version)


def another(folder: Path, scale: float = 2.0) -> str:
    """The shipped classifier with another calibration: another version."""
    shipped = registry.load()
    said = shipped.description
    calibration = Calibration(scale, 0.0)
    return registry.save(folder, shipped.head, calibration, base=said.base, topics=said.topics, adapter=shipped.adapter)


def promoted(database: Database, data: Path, scale: float) -> str:
    """Another version, promoted from a data folder."""
    made = data / f"made {scale}"
    another(made, scale)
    version = ModelFolder(data / "models").add(made).name
    with transaction(database) as connection:
        model_versions.add(connection, version, {}, 1)
        model_versions.keep_files(connection, version, {name: (made / name).read_bytes() for name in registry.FILES})
        model_versions.promote(connection, version, 1)  # a clock that stands still
    return version
