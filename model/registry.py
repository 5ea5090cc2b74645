"""A classifier as a folder: `weights.safetensors` and `model.json`, tied together by a hash.

The hash covers the weights' bytes (head and adapter), the calibration, the topics and the base they belong to; it is
the classifier's version. A file that does not fit is refused before it is read, and nothing that is loaded can run
code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from model.adapter import Adapter, Weights, adapter_of
from model.base import Base
from model.calibrate import Calibration
from model.files import replacing
from model.head import Head
from pipeline.errors import ModelError

#: The classifier in this package.
SHIPPED = Path(__file__).parent / "weights" / "default"

FORMAT = 3

_WEIGHTS = "weights.safetensors"
#: What makes a classifier; whatever else lies in its folder tells of it.
FILES = ("model.json", _WEIGHTS)
_HEAD, _ADAPTER = "head.", "adapter."
_ARRAYS = ("inner", "inner_bias", "outer", "outer_bias")


class Description(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`model.json`. `base` is the digest of the base encoder, `weights` that of `weights.safetensors`; `topics` as in
    `model/topics.py`."""

    format: int
    base: str
    weights: str
    scale: float
    shift: float
    topics: dict[str, list[str]]
    version: str = ""

    def computed_version(self) -> str:
        """Twelve hexadecimal digits that change with anything that decides a score or a topic."""
        unversioned = msgspec.structs.replace(self, version="")
        return hashlib.sha256(msgspec.json.encode(unversioned, order="deterministic")).hexdigest()[:12]


class StoredClassifier(msgspec.Struct, frozen=True):
    """A classifier as it is stored: everything but the base encoder. Programs use `model.Classifier`."""

    description: Description
    head: Head
    adapter: Adapter = Adapter()

    def encoder_weights(self, base: Base) -> Weights:
        """The weights of the encoder: the base's with the adapter merged. Raises ModelError when the classifier belongs
        to another base."""
        if self.description.base != base.digest():
            raise ModelError(f"the classifier was trained on another base than the one in {base.folder}")
        return self.adapter.merged(base.load())

    @property
    def calibration(self) -> Calibration:
        return Calibration(scale=self.description.scale, shift=self.description.shift)

    def with_topics(self, topics: Mapping[str, Sequence[str]]) -> StoredClassifier:
        """The same classifier with topics added, or replaced by name: another version."""
        merged = {**self.description.topics, **{name: list(phrases) for name, phrases in topics.items()}}
        changed = msgspec.structs.replace(self.description, topics=merged)
        changed = msgspec.structs.replace(changed, version=changed.computed_version())
        return StoredClassifier(changed, self.head, self.adapter)


def save(
    folder: Path,
    head: Head,
    calibration: Calibration,
    *,
    base: str,
    topics: Mapping[str, Sequence[str]],
    adapter: Adapter | None = None,
) -> str:
    """Write a classifier into `folder` and return its version; each file replaces an older one whole. Raises ModelError
    when one cannot be written."""
    tensors = {_HEAD + name: np.array(getattr(head, name), order="C") for name in _ARRAYS}
    tensors |= {_ADAPTER + name: np.array(tensor, order="C") for name, tensor in (adapter or Adapter()).tensors()}
    data = safetensors.numpy.save(tensors)
    description = Description(
        format=FORMAT,
        base=base,
        weights=hashlib.sha256(data).hexdigest(),
        scale=float(calibration.scale),  # an int would be hashed as one, and read back as a float
        shift=float(calibration.shift),
        topics={name: list(phrases) for name, phrases in topics.items()},
    )
    description = msgspec.structs.replace(description, version=description.computed_version())
    with replacing(folder / _WEIGHTS) as weights:
        weights.write_bytes(data)
    with replacing(folder / "model.json") as described:
        described.write_bytes(msgspec.json.format(msgspec.json.encode(description), indent=2) + b"\n")
    return description.version


def load(folder: Path | None = None) -> StoredClassifier:
    """The classifier in `folder`, else the shipped one. Raises ModelError when it is missing, damaged or
    foreign."""
    folder = folder or SHIPPED
    try:
        raw = (folder / "model.json").read_bytes()
        written = msgspec.json.decode(raw, type=_Written).format
        if written != FORMAT:
            raise ModelError(
                f"{folder} has format {written}; this program knows {FORMAT}: train it again, or promote another one"
            )
        description = msgspec.json.decode(raw, type=Description)
        data = (folder / _WEIGHTS).read_bytes()
    except OSError as error:
        raise ModelError(f"no classifier in {folder}: {error.strerror} ({error.filename})") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{folder / 'model.json'} is no description of a classifier: {error}") from error
    if description.version != description.computed_version():
        raise ModelError(f"{folder / 'model.json'} was changed after it was written; restore the folder")
    if description.weights != hashlib.sha256(data).hexdigest():
        raise ModelError(f"{folder / _WEIGHTS} does not belong to its model.json; restore the folder")
    try:
        tensors = safetensors.numpy.load(data)
        head = _head({name: np.asarray(tensors[_HEAD + name], np.float32) for name in _ARRAYS})
        adapter = adapter_of(
            {name.removeprefix(_ADAPTER): tensor for name, tensor in tensors.items() if name.startswith(_ADAPTER)}
        )
    except (SafetensorError, KeyError, ModelError) as error:
        raise ModelError(f"{folder / _WEIGHTS} holds no classifier: {error}") from error
    return StoredClassifier(description, head, adapter)


def is_classifier(folder: Path) -> bool:
    """Whether a folder says that it holds a classifier, of this format or another."""
    try:
        msgspec.json.decode((folder / "model.json").read_bytes(), type=_Written)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


class _Written(msgspec.Struct):
    """The format of a description, whatever else it holds."""

    format: int


def _head(arrays: Mapping[str, NDArray[np.float32]]) -> Head:
    head = Head(**arrays)
    hidden = head.inner.shape[1] if head.inner.ndim == 2 else -1
    if head.inner_bias.shape != (hidden,) or head.outer.shape != (hidden,) or head.outer_bias.shape != ():
        raise ModelError("the arrays of the head have shapes that do not fit together")
    return head
