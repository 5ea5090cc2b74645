"""The encoder and its head in torch, as they are tuned together."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from model.adapter import Adapter, Weights
from model.base import DEPTH, Base
from model.head import Head
from pipeline.errors import ModelError

Method = Literal["full", "lora", "head"]

#: The rank of an update, and what its scale is divided by the rank (Hu et al. 2022, section 4.1).
RANK, ALPHA = 16, 32

#: Linear layers of BERT by the last part of their name: the projections of attention, and the three called dense.
_LINEAR = ("query", "key", "value", "dense")


class Network(nn.Module):
    """Ids (n, length) to logits (n) and embeddings (n, hidden).

    It starts from a head that was trained on the frozen base: tuning from a good head changes the base less, and what
    is changed less does better on texts of a kind that it has not seen (Kumar et al. 2022, "Fine-Tuning can Distort
    Pretrained Features").
    """

    def __init__(self, base: Base, weights: Weights, head: Head, method: Method, *, dropout: float) -> None:
        """`weights` of the encoder to begin with, shaped as `base` says."""
        super().__init__()
        encoder: Any = AutoModel.from_config(  # type: ignore[no-untyped-call]
            AutoConfig.from_pretrained(base.folder, local_files_only=True),
            attn_implementation="sdpa",
            dtype=torch.float32,
            add_pooling_layer=False,
        )
        encoder.load_state_dict(
            {name: torch.from_numpy(weight) for name, weight in weights.items() if not name.startswith("pooler.")}
        )
        self._method = method
        if method == "lora":
            try:
                from peft import LoraConfig, get_peft_model
            except ImportError as error:
                raise ModelError(f"low-rank tuning needs peft ({error}): pip install 'tocsin[train]'") from error

            config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(_LINEAR), bias="none")
            encoder = get_peft_model(encoder, config)
        elif method == "head":
            encoder.requires_grad_(False)
        else:
            # Names, numbers and word pieces keep their places: texts hold other words than the training did.
            encoder.embeddings.requires_grad_(False)
        self.encoder = encoder
        self.words = encoder.get_input_embeddings()
        self.inner = nn.Linear(*head.inner.shape)
        self.outer = nn.Linear(len(head.outer), 1)
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():
            self.inner.weight.copy_(torch.from_numpy(head.inner.T))
            self.inner.bias.copy_(torch.from_numpy(head.inner_bias))
            self.outer.weight.copy_(torch.from_numpy(head.outer[None]))
            self.outer.bias.copy_(torch.from_numpy(head.outer_bias[None]))

    def forward(self, inputs: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """`inputs` (n, length, hidden) are embeddings of words, `present` (n, length) says where there is one."""
        passed = self.encoder(inputs_embeds=inputs, attention_mask=present.long(), output_hidden_states=True)
        weight = present.unsqueeze(-1).float()
        count = weight.sum(1)
        means = torch.stack([(state * weight).sum(1) / count for state in passed.hidden_states[-DEPTH:]], 1)
        hidden = self.dropout(torch.relu(self.inner(means.flatten(1))))
        return self.outer(hidden).squeeze(-1), nn.functional.normalize(means[:, -1], dim=-1)

    def trained(self) -> dict[str, nn.Parameter]:
        """What training changes, by name."""
        return {name: value for name, value in self.named_parameters() if value.requires_grad}

    def head(self) -> Head:
        """The head as it is now."""
        with torch.no_grad():
            inner, outer = self.inner, self.outer
            arrays = (inner.weight.T, inner.bias, outer.weight[0], outer.bias[0])
            return Head(*(np.array(array.cpu().numpy(), np.float32, order="C") for array in arrays))

    def adapter(self) -> Adapter:
        """What became of the base."""
        if self._method == "lora":
            return _low_rank(self.encoder)
        return Adapter(
            whole={name: _half(value) for name, value in self.encoder.named_parameters() if value.requires_grad}
        )


def _low_rank(encoder: Any) -> Adapter:
    pairs = {}
    for name, module in encoder.base_model.model.named_modules():
        if hasattr(module, "lora_A"):
            down, up = module.lora_A["default"].weight, module.lora_B["default"].weight
            pairs[f"{name}.weight"] = (_half(down), _half(up * module.scaling["default"]))
    return Adapter(low_rank=pairs)


def _half(value: Tensor) -> Any:
    return value.detach().cpu().numpy().astype(np.float16)
