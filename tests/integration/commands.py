"""`tocsin`, called in a process of its own as a user calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., subprocess.CompletedProcess[bytes]]


def commands(folder: Path, **settings: str) -> Run:
    """Calls `tocsin` in `folder`, with its data in there and with these settings alone; it must end with
    exit code `code`, and never with a traceback."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")}
    environment = {**own, "TOCSIN_DATA": str(folder / "data"), "PYTHONPATH": str(Path(__file__).parents[2]), **settings}

    def tocsin(*arguments: str, code: int = 0, **more: str) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli", *arguments],
            capture_output=True,
            check=False,
            cwd=folder,
            env=environment | more,
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        assert b"Traceback" not in done.stderr
        return done

    return tocsin
