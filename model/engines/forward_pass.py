"""The encoder on torch, from the weights themselves.

Written out rather than taken from transformers, whose forward pass asks the device for a value (is anything padded?)
in every call: that waits for the device, and cannot be captured as a CUDA graph.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding, gelu, layer_norm, linear, scaled_dot_product_attention

from model.adapter import Weights
from model.base import DEPTH, Base
from model.tokenizing import PAD

_EMBEDDINGS = "embeddings."
_ATTENTION = ("query", "key", "value")


class ForwardPass:
    """Weights on a device, and the forward pass over them."""

    def __init__(self, base: Base, weights: Weights, device: torch.device, precision: torch.dtype) -> None:
        """`weights` of the encoder, shaped as `base` says. Raises KeyError where one is missing."""
        self._base = base
        self._weights = {
            name: torch.from_numpy(weight).to(device, precision)
            for name, weight in weights.items()
            if not name.startswith("pooler.")
        }
        for number in range(base.layers):  # query, key and value in one product
            for part in ("weight", "bias"):
                name = f"encoder.layer.{number}.attention.self."
                self._weights[f"{name}all.{part}"] = torch.cat(
                    [self._weights.pop(f"{name}{one}.{part}") for one in _ATTENTION]
                )
        places = self._weights.pop(_EMBEDDINGS + "position_embeddings.weight")
        self._places = places + self._weights.pop(_EMBEDDINGS + "token_type_embeddings.weight")[0]

    def means(self, ids: Tensor) -> Tensor:
        """ids (n, length), padded with `PAD` -> float32 (n, `DEPTH`, hidden): means over the tokens of a text of each
        of the last layers. Waits for nothing on the device."""
        present = ids != PAD
        words = embedding(ids, self._weights[_EMBEDDINGS + "word_embeddings.weight"])
        state = self._norm(_EMBEDDINGS + "LayerNorm", words + self._places[: ids.shape[1]])
        # Added to the attention scores: 0 where there is a token, far below any score where there is none.
        bias = torch.zeros_like(present, dtype=state.dtype).masked_fill(~present, -1e4)[:, None, None, :]
        bias = bias.expand(-1, 1, ids.shape[1], -1)
        states = [state]
        for number in range(self._base.layers):
            states.append(self._layer(f"encoder.layer.{number}.", states[-1], bias))
        weight = present.unsqueeze(-1).float()
        sums = [(state.float() * weight).sum(1) for state in states[-DEPTH:]]
        return torch.stack(sums, 1) / weight.sum(1, keepdim=True)

    def _layer(self, name: str, state: Tensor, bias: Tensor) -> Tensor:
        """One post-norm transformer layer (Vaswani et al. 2017, section 3.1, with GELU)."""
        rows, length, hidden = state.shape
        heads = self._base.heads
        split = self._linear(name + "attention.self.all", state).view(rows, length, 3, heads, hidden // heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(query, key, value, bias)
        attended = self._linear(name + "attention.output.dense", attended.transpose(1, 2).reshape(rows, length, hidden))
        state = self._norm(name + "attention.output.LayerNorm", attended + state)
        inner = self._linear(name + "output.dense", gelu(self._linear(name + "intermediate.dense", state)))
        return self._norm(name + "output.LayerNorm", inner + state)

    def _linear(self, name: str, state: Tensor) -> Tensor:
        return linear(state, self._weights[name + ".weight"], self._weights[name + ".bias"])

    def _norm(self, name: str, state: Tensor) -> Tensor:
        """Layer normalisation (Ba et al. 2016)."""
        scale, shift = self._weights[name + ".weight"], self._weights[name + ".bias"]
        return layer_norm(state, (self._base.hidden,), scale, shift, self._base.layer_norm_eps)
