"""The data folder: one pipeline on it, and secrets that only their owner reads."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import ConfigurationError, DataFolderLocked
from pipeline.runtime.datafolder import DataFolder, secret_file


def test_a_new_folder_is_for_its_owner_only(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "a" / "data")
    assert folder.path.stat().st_mode & 0o77 == 0


def test_a_second_pipeline_on_the_folder_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from pipeline.runtime.datafolder import DataFolder\n"
        "with DataFolder(Path(sys.argv[1])).locked():\n    print('ready', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        with pytest.raises(DataFolderLocked, match=f"process {holder.pid}"), DataFolder(tmp_path).locked():
            pass
        holder.kill()
        holder.wait()
    with (
        DataFolder(tmp_path).locked(),
        pytest.raises(DataFolderLocked, match=str(os.getpid())),
        DataFolder(tmp_path).locked(),
    ):
        pass
    with DataFolder(tmp_path).locked():
        pass


def test_a_path_that_is_no_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="TOCSIN_DATA"):
        DataFolder(tmp_path / "file" / "data")


def test_the_secret_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: DataFolder(tmp_path).secret_key().get_secret_value(), range(16)))
    [secret] = made
    assert len(base64.urlsafe_b64decode(secret)) == 32
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]
    assert secret not in repr(DataFolder(tmp_path).secret_key())


@pytest.mark.parametrize(("content", "mode"), [(b"", 0o600), (b"\xff", 0o600), (b"key", 0o640), (b"key", 0o604)])
def test_a_secret_that_is_empty_or_open_to_others_is_refused(tmp_path: Path, content: bytes, mode: int) -> None:
    path = tmp_path / "secret.key"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=r"secret\.key"):
        secret_file(path)
