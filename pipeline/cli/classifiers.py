"""A classifier as a command line names it: a folder, a version, or the live one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.cli.database import Database
    from pipeline.runtime.model_folder import ModelFolder

#: What an option that takes one says of itself.
NAMES = "a classifier: a folder, a version as `tocsin models list` shows it, or live"

LIVE = "live"
_VERSION = re.compile(r"[0-9a-f]{12}")


def classifier_folder(name: str) -> Path:
    """Where a classifier lies. The database is asked only where neither a folder nor the shipped version is named.

    Raises UsageError where nothing could be meant by it, ModelError where a version is nowhere, and what `database`
    raises.
    """
    from model import registry
    from pipeline.cli.database import database

    if name == registry.load().description.version:
        return registry.SHIPPED
    if is_folder(name):
        return named_folder(name)
    with database() as db:
        return stored_classifier(db, name)


def stored_classifier(db: Database, name: str) -> Path:
    """Where a version, or the live one, lies. Raises ModelError where it is nowhere."""
    from alerts import model_versions
    from alerts.store import transaction
    from model import registry

    with transaction(db.engine) as connection:
        version = model_versions.live(connection) if name == LIVE else name
        return registry.SHIPPED if version is None else model_folder(db).fetch(connection, version)


def is_folder(name: str) -> bool:
    """Whether a name is that of a folder, which may not be there; else of what the database knows."""
    return name != LIVE and (Path(name).is_dir() or not _VERSION.fullmatch(name))


def named_folder(name: str) -> Path:
    """The folder of that name. Raises UsageError where it holds no classifier."""
    folder = Path(name)
    if not folder.is_dir():
        raise UsageError(
            f"{name} is neither a folder nor a version of the classifier (twelve digits of 0-9a-f, as `tocsin models "
            "list` shows them)"
        )
    if not (folder / "model.json").is_file():
        raise UsageError(f"{folder} holds no classifier (no model.json in it)")
    return folder


def model_folder(db: Database) -> ModelFolder:
    """Where this machine keeps promoted classifiers."""
    from pipeline.runtime.model_folder import ModelFolder

    return ModelFolder(db.folder.models if db.folder else db.settings.data / "models")
