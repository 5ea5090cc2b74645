"""Where promoted classifiers lie: `models/VERSION` in the data folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection

from alerts import model_versions
from model import registry
from pipeline.errors import ModelError


class ModelFolder:
    """Classifiers by version. One that is there is whole: it is copied beside, then moved in."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def fetch(self, connection: Connection, version: str) -> Path:
        """Where a version lies, taken from the database where it is not here or damaged. Raises ModelError when it is
        in neither place."""
        if not self._has(version) and (files := model_versions.files(connection, version)):
            self.put(version, files)
        if self._has(version):
            return self._path / version
        if version == registry.load().description.version:
            return registry.SHIPPED
        raise ModelError(
            f"version {version} of the classifier is neither in {self._path} nor in the database: promote it again "
            "from the folder that it was made in"
        )

    def _has(self, version: str) -> bool:
        try:
            return registry.load(self._path / version).description.version == version
        except ModelError:
            return False

    def add(self, source: Path, base: str | Path | None = None) -> Path:
        """Copy a classifier in, and return where: a folder named as its version. Idempotence: what is there, and whole,
        stays. Raises ModelError when `source` holds none, or one for another base than that at `base` (`find_base`)."""
        from model.base import find_base

        loaded = registry.load(source)
        loaded.encoder_weights(find_base(base))
        version = loaded.description.version
        with self._made(version) as partial:
            for file in source.iterdir():
                if file.is_file():
                    shutil.copy2(file, partial)
        return self._path / version

    def put(self, version: str, files: Mapping[str, bytes]) -> None:
        """Lay down the files of a version. Idempotence as in `add`. Raises ModelError where they are damaged, or
        another version's."""
        with self._made(version) as partial:
            for name in registry.FILES:
                (partial / name).write_bytes(files.get(name, b""))

    @contextmanager
    def _made(self, version: str) -> Iterator[Path]:
        """A folder to fill, that becomes the version's when the block ends without an error."""
        target = self._path / version
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            hidden = tempfile.TemporaryDirectory(prefix=f".{version}.", dir=self._path, ignore_cleanup_errors=True)
            with hidden as name:
                partial = Path(name) / version  # within, because nobody else may read the folder around it
                partial.mkdir()
                yield partial
                found = registry.load(partial).description.version
                if found != version:
                    raise ModelError(
                        f"what is kept as version {version} of the classifier is {found}: promote it again"
                    )
                if not self._has(version):
                    shutil.rmtree(target, ignore_errors=True)
                    partial.rename(target)
        except OSError as error:
            if not self._has(version):  # else another one was faster
                raise ModelError(f"{target} cannot be made: {error.strerror} ({error.filename})") from error
