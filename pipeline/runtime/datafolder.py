"""The data folder: what lies where, who may run on it, and the key that encrypts webhook secrets."""

from __future__ import annotations

import base64
import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from pipeline.errors import ConfigurationError, DataFolderLocked


class DataFolder:
    """The sub-folders and files of one deployment; made with mode 0700 when they do not exist.

    Raises ConfigurationError when the folder cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigurationError(
                f"the data folder {self.path} cannot be made: {error.strerror}; set TOCSIN_DATA to another one"
            ) from error
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise ConfigurationError(
                f"the data folder {self.path} cannot be written; allow it, or set TOCSIN_DATA to another one"
            )

    @property
    def journal(self) -> Path:
        """The raw log, a folder for each partition."""
        return self.path / "journal"

    @property
    def scores(self) -> Path:
        """The recorded scores."""
        return self.path / "scores"

    @property
    def models(self) -> Path:
        """Promoted classifiers, a folder for each version."""
        return self.path / "models"

    @property
    def postgres(self) -> Path:
        """The Postgres that Tocsin runs for itself."""
        return self.path / "postgres"

    @property
    def valkey(self) -> Path:
        """The Valkey that Tocsin runs for itself."""
        return self.path / "valkey"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only pipeline on this folder; the lock ends with the process, however it ends.

        Raises DataFolderLocked that names the process which holds it.
        """
        path = self.path / "lock"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
                raise DataFolderLocked(
                    f"another Tocsin (process {holder}) runs on {self.path}; stop it, or set TOCSIN_DATA to "
                    "another folder"
                ) from None
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(fd)

    def secret_key(self) -> SecretStr:
        """The key in `secret.key` (32 random bytes in base64), made at the first call.

        Raises ConfigurationError when others can read it or it is empty.
        """
        return SecretStr(secret_file(self.path / "secret.key"))

    def id(self) -> str:
        """What tells this folder from all others: 32 random bytes in base64 in `folder.id`, made at the first call. A
        copy has the same.

        Raises ConfigurationError when others can read it or it is empty.
        """
        return secret_file(self.path / "folder.id")


def secret_file(path: Path) -> str:
    """The secret in a file of mode 0600, made of 32 random bytes in base64 when there is none.

    Processes that make it at once agree on one. Raises ConfigurationError when others can read it, or when it
    is empty or cannot be read or made.
    """
    try:
        if not path.exists():
            _create(path)
        if path.stat().st_mode & 0o077:
            raise ConfigurationError(f"others can read {path}; run: chmod 600 {path}")
        secret = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot use the secret in {path}: {error}") from error
    if not secret:
        raise ConfigurationError(f"{path} is empty; restore it from a backup")
    return secret


def _create(path: Path) -> None:
    # A link appears whole or not at all, and never replaces what another process made.
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(base64.urlsafe_b64encode(secrets.token_bytes(32)) + b"\n")
            file.flush()
            os.fsync(fd)
        os.link(name, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(name)
