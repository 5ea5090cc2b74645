"""What was measured of a classifier, kept as JSON in its folder: what is asked for before it is promoted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from model import registry
from model.files import check_folder
from pipeline.errors import ModelError, UsageError

#: Who measures, and where it is kept: `tocsin train` and `calibrate` on held-out texts of a person, `tocsin evaluate
#: --retrain`, and `tocsin evaluate` without it.
_FILES = {"training": "training.json", "evaluation": "evaluation.json", "evaluated": "evaluated.json"}


def check_out(folder: Path) -> None:
    """Make `folder`, for a classifier and what is measured of it. Raises UsageError where nothing can be written there,
    or a file that is not Tocsin's would be replaced."""
    if not registry.is_classifier(folder):
        for name in (*registry.FILES, _FILES["training"]):
            if (folder / name).exists():
                raise UsageError(f"{folder / name} is not Tocsin's and would be replaced: name another folder")
    check_folder(folder)


def keep_training(folder: Path, version: str, measured: object) -> None:
    """Keep what a training measured of a version, any JSON object, beside it. Raises ModelError."""
    _keep(folder / _FILES["training"], version, measured)


def keep_evaluated(folder: Path, version: str, figures: Mapping[str, object]) -> None:
    """Keep what an evaluation found of a version, by set of texts, beside it. Raises ModelError."""
    _keep(folder / _FILES["evaluated"], version, {"sets": figures})


def _keep(path: Path, version: str, measured: object) -> None:
    kept = {"model": version, **msgspec.to_builtins(measured)}
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n")
    except OSError as error:
        raise ModelError(f"what was measured cannot be kept in {path}: {error.strerror}") from error


def measured(folder: Path, version: str) -> dict[str, Any]:
    """What is kept of this version, by who measured it; empty when nothing is, or only of another one.

    Raises ModelError for a file that cannot be read.
    """
    found = {}
    for who, name in _FILES.items():
        path = folder / name
        try:
            kept = msgspec.json.decode(path.read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ModelError(f"{path} cannot be read ({error}): evaluate the classifier again") from error
        if isinstance(kept, dict) and kept.get("model") == version:
            found[who] = kept
    return found
