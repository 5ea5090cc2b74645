"""Where promoted classifiers lie: `models/VERSION` in the data folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from model import registry
from pipeline.errors import ModelError


class ModelFolder:
    """Classifiers by version. One that is there is whole: it is copied beside, then moved in."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def folder(self, version: str) -> Path:
        """Where a version lies. Raises ModelError when it is not there."""
        found = self._path / version
        if not (found / "model.json").is_file():
            if version == registry.load().description.version:
                return registry.SHIPPED
            raise ModelError(
                f"version {version} of the classifier is not in {self._path}: copy its folder there from where it was "
                "promoted, or promote it here"
            )
        return found

    def add(self, source: Path) -> str:
        """Copy a classifier in, and return its version. Idempotence: what is there stays. Raises ModelError when
        `source` holds none, or one for another base."""
        from model.base import find_base

        loaded = registry.load(source)
        loaded.encoder_weights(find_base())
        version = loaded.description.version
        target = self._path / version
        if not target.exists():
            partial = self._path / f".{version}.{os.getpid()}"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            try:
                for file in source.iterdir():
                    if file.is_file():
                        shutil.copy2(file, partial)
                partial.rename(target)
            except OSError as error:
                raise ModelError(f"{source} cannot be copied to {target}: {error.strerror}") from error
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return version
