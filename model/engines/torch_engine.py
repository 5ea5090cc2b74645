"""The encoder on torch: for a CUDA device, and a CPU where OpenVINO does not run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel
from transformers.utils import logging as transformers_logging

from model.adapter import Weights
from model.base import DEPTH, Base
from model.engines.padding import padded
from model.tokenizing import PAD
from pipeline.errors import ModelError


class TorchEncoder:
    """Runs batches: bf16 on CUDA, fp32 on a CPU; attention by `scaled_dot_product_attention`."""

    name = "torch"

    def __init__(self, base: Base, weights: Weights, threads: int | None = None) -> None:
        """`weights` of the encoder, shaped as `base` says; `threads`: how many a CPU may use (for this process), None
        leaves that to torch. Raises ModelError."""
        if threads is not None:
            torch.set_num_threads(threads)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        precision = torch.bfloat16 if self._device.type == "cuda" else torch.float32
        # Its bars would go to a program's standard error.
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            model = AutoModel.from_pretrained(
                base.folder, local_files_only=True, attn_implementation="sdpa", dtype=precision, add_pooling_layer=False
            )
            model.load_state_dict(
                {name: torch.from_numpy(weight) for name, weight in weights.items() if not name.startswith("pooler.")}
            )
            self._model = model.to(self._device).eval()
        except (OSError, RuntimeError, ValueError) as error:
            raise ModelError(f"torch cannot run the encoder in {base.folder}: {error}") from error

    def means(self, batch: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Means (n, `DEPTH`, hidden) of the last layers, in the order of the batch. Raises ModelError."""
        try:
            with torch.inference_mode():
                ids = torch.from_numpy(padded(batch)).to(self._device, torch.long)
                present = ids != PAD
                passed = self._model(input_ids=ids, attention_mask=present.long(), output_hidden_states=True)
                weight = present.unsqueeze(-1).float()
                sums = [(state.float() * weight).sum(1) for state in passed.hidden_states[-DEPTH:]]
                result: NDArray[np.float32] = (torch.stack(sums, 1) / weight.sum(1, keepdim=True)).cpu().numpy()
                return result
        except RuntimeError as error:
            raise ModelError(f"the forward pass failed on {self._device}: {error}") from error
