"""A classifier as a folder: `head.npz` and `model.json`, tied together by a hash.

The hash covers the head's bytes, the calibration, the topics and the base it belongs to; it is the classifier's
version. A file that does not fit is refused, and nothing that is loaded can run code.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from model.calibrate import Calibration
from model.head import Head
from pipeline.errors import ModelError

#: The classifier in this package.
SHIPPED = Path(__file__).parent / "weights" / "default"

FORMAT = 1

_ARRAYS = ("inner", "inner_bias", "outer", "outer_bias")


class Description(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`model.json`. `base` is the digest of the base encoder, `head` that of `head.npz`; `topics` as in
    `model/topics.py`."""

    format: int
    base: str
    head: str
    scale: float
    shift: float
    topics: dict[str, list[str]]
    version: str = ""

    def computed_version(self) -> str:
        """Twelve hexadecimal digits that change with anything that decides a score or a topic."""
        unversioned = msgspec.structs.replace(self, version="")
        return hashlib.sha256(msgspec.json.encode(unversioned, order="deterministic")).hexdigest()[:12]


class Classifier(msgspec.Struct, frozen=True):
    """A loaded classifier: everything but the base encoder."""

    description: Description
    head: Head

    @property
    def calibration(self) -> Calibration:
        return Calibration(scale=self.description.scale, shift=self.description.shift)

    def with_topics(self, topics: Mapping[str, Sequence[str]]) -> Classifier:
        """The same classifier with topics added, or replaced by name: another version."""
        merged = {**self.description.topics, **{name: list(phrases) for name, phrases in topics.items()}}
        changed = msgspec.structs.replace(self.description, topics=merged)
        changed = msgspec.structs.replace(changed, version=changed.computed_version())
        return Classifier(changed, self.head)


def save(folder: Path, head: Head, calibration: Calibration, *, base: str, topics: Mapping[str, Sequence[str]]) -> str:
    """Write a classifier into `folder` and return its version; each file replaces an older one whole."""
    file = io.BytesIO()
    np.savez(
        file,
        inner=head.inner,
        inner_bias=head.inner_bias,
        outer=head.outer,
        outer_bias=head.outer_bias,
    )
    data = file.getvalue()
    description = Description(
        format=FORMAT,
        base=base,
        head=hashlib.sha256(data).hexdigest(),
        scale=float(calibration.scale),  # an int would be hashed as one, and read back as a float
        shift=float(calibration.shift),
        topics={name: list(phrases) for name, phrases in topics.items()},
    )
    description = msgspec.structs.replace(description, version=description.computed_version())
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / "head.npz", data)
    _replace(folder / "model.json", msgspec.json.format(msgspec.json.encode(description), indent=2) + b"\n")
    return description.version


def load(folder: Path | None = None) -> Classifier:
    """The classifier in `folder`, else the shipped one. Raises ModelError when it is missing, damaged or
    foreign."""
    folder = folder or SHIPPED
    try:
        description = msgspec.json.decode((folder / "model.json").read_bytes(), type=Description)
        data = (folder / "head.npz").read_bytes()
    except OSError as error:
        raise ModelError(f"no classifier in {folder}: {error.strerror} ({error.filename})") from error
    except msgspec.MsgspecError as error:
        raise ModelError(f"{folder / 'model.json'} is no description of a classifier: {error}") from error
    if description.format != FORMAT:
        raise ModelError(f"{folder} has format {description.format}; this program knows {FORMAT}")
    if description.version != description.computed_version():
        raise ModelError(f"{folder / 'model.json'} was changed after it was written; restore the folder")
    if description.head != hashlib.sha256(data).hexdigest():
        raise ModelError(f"{folder / 'head.npz'} does not belong to its model.json; restore the folder")
    return Classifier(description, _head(folder / "head.npz", data))


def _head(path: Path, data: bytes) -> Head:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            inner, inner_bias, outer, outer_bias = (np.asarray(arrays[name], np.float32) for name in _ARRAYS)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ModelError(f"{path} is not a head: {error}") from error
    hidden = inner.shape[1] if inner.ndim == 2 else -1
    if inner_bias.shape != (hidden,) or outer.shape != (hidden,) or outer_bias.shape != ():
        raise ModelError(f"{path} holds arrays of shapes that do not fit together")
    return Head(inner, inner_bias, outer, outer_bias)


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(data)
    partial.replace(path)
