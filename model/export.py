"""A classifier as files for other programs: the network with the adapter merged, its tokenizer, and how to use them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError
from tokenizers import Tokenizer

from model.adapter import Weights
from model.base import Base
from model.export_readme import readme
from model.registry import StoredClassifier
from model.tokenizing import MAX_TOKENS, PAD
from pipeline.errors import ModelError

Format = Literal["onnxruntime", "openvino", "torch"]

FORMATS: tuple[str, ...] = get_args(Format)


def export(classifier: StoredClassifier, base: Base, engine: Format, folder: Path) -> list[Path]:
    """Write `classifier` and its base into `folder`, which must not exist or be empty; returns the files.

    onnxruntime: `classifier.onnx`, standard operators only. openvino: `classifier.xml` and `.bin`. Both have a
    probability for an output. torch: what transformers loads (`config.json`, `model.safetensors`), and the head in
    `head.safetensors`. All in float32, with `tokenizer.json` and a `README.md` whose example runs as it stands.
    Raises ModelError where the folder is in use, cannot be written, or a package is missing; what this call made is
    removed then.
    """
    weights = classifier.encoder_weights(base)
    write: Callable[[StoredClassifier, Base, Weights, Path], None] = {
        "onnxruntime": _onnx,
        "openvino": _openvino,
        "torch": _torch,
    }[engine]
    tokenizer = Tokenizer.from_file(str(base.tokenizer))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding(pad_id=PAD)
    with _whole(folder):
        write(classifier, base, weights, folder)
        (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
        (folder / "README.md").write_text(readme(classifier.description, engine), encoding="utf-8")
    return sorted(folder.iterdir())


@contextmanager
def _whole(folder: Path) -> Iterator[None]:
    """An empty folder to write into; where that fails it is as it was. Raises ModelError with the cause."""
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ModelError(f"{folder} is not empty: name a new folder")
    except OSError as error:
        raise ModelError(f"{folder} cannot be written: {error.strerror}") from error
    try:
        yield
    except BaseException as error:
        for path in folder.iterdir():
            path.unlink()
        if new:
            folder.rmdir()
        if isinstance(error, OSError | SafetensorError):
            raise ModelError(f"{folder} cannot be written: {getattr(error, 'strerror', None) or error}") from error
        raise


def _onnx(classifier: StoredClassifier, base: Base, weights: Weights, folder: Path) -> None:
    try:
        from model.engines.onnx_graph import build
    except ImportError as error:
        raise ModelError(f"cannot write ONNX: {error}; run `pip install 'tocsin[onnx]'`") from error
    graph = build(base, weights, "f32", (classifier.head, classifier.calibration))
    (folder / "classifier.onnx").write_bytes(graph.SerializeToString())


def _openvino(classifier: StoredClassifier, base: Base, weights: Weights, folder: Path) -> None:
    try:
        import openvino as ov

        from model.engines.openvino_graph import build
    except ImportError as error:
        raise ModelError(f"cannot write OpenVINO's files: {error}; run `pip install openvino`") from error
    graph = build(base, weights, (classifier.head, classifier.calibration))
    try:
        ov.save_model(graph, folder / "classifier.xml", compress_to_fp16=False)
    except RuntimeError as error:  # which does not say why
        raise ModelError(f"{folder} cannot be written: is the disk full? ({error})") from error


def _torch(classifier: StoredClassifier, base: Base, weights: Weights, folder: Path) -> None:
    shutil.copyfile(base.folder / "config.json", folder / "config.json")
    safetensors.numpy.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    head = {name: np.array(getattr(classifier.head, name), order="C") for name in classifier.head.__slots__}
    safetensors.numpy.save_file(head, folder / "head.safetensors")
