"""The encoder as an OpenVINO graph, built from the weights themselves.

Built in memory in well under a second, so nothing is converted, stored or shared between processes, and neither
torch nor transformers is imported.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from model import adapter
from model.base import DEPTH, Base
from model.calibrate import Calibration
from model.head import Head
from model.tokenizing import PAD

# OpenVINO's node factories are untyped: what they hand over is Any here.
Node = Any
Weights = dict[str, Node]

_EMBEDDINGS = "embeddings."


def build(base: Base, encoder: adapter.Weights, decided: tuple[Head, Calibration] | None = None) -> ov.Model:
    """ids (n, length) of int32, padded with `PAD` -> "means", float32 (n, `DEPTH`, hidden): means over the tokens of a
    text of each of the last layers. With `decided` there is a second output, "probability" (n), that a text is bad."""
    # Constants made here, once: the node factories would turn each array into a Python list first (1.5 s).
    weights = {name: ov.op.Constant(array) for name, array in encoder.items()}
    ids = ops.parameter([-1, -1], np.int32, name="ids")
    present = ops.not_equal(ids, _int(PAD))
    length = ops.gather(ops.shape_of(ids, "i32"), _int(1), _int(0))
    positions = ops.range(_int(0), length, _int(1), "i32")
    words = ops.gather(weights[_EMBEDDINGS + "word_embeddings.weight"], ids, _int(0))
    places = ops.gather(weights[_EMBEDDINGS + "position_embeddings.weight"], positions, _int(0))
    segment = ops.gather(weights[_EMBEDDINGS + "token_type_embeddings.weight"], _int(0), _int(0))
    state = _norm(base, weights, _EMBEDDINGS + "LayerNorm", ops.add(ops.add(words, places), segment))

    # Added to the attention scores: 0 where there is a token, far below any score where there is none.
    bias = ops.select(present, np.float32(0.0), np.float32(-1e4))
    bias = ops.unsqueeze(bias, np.array([1, 2], np.int32))
    states = [state]
    for number in range(base.layers):
        states.append(_layer(base, weights, f"encoder.layer.{number}.", states[-1], bias))

    weight = ops.unsqueeze(ops.convert(present, "f32"), _int(2))
    count = ops.reduce_sum(weight, _int(1), True)
    sums = [ops.reduce_sum(ops.multiply(state, weight), _int(1), True) for state in states[-DEPTH:]]
    means = ops.divide(ops.concat(sums, 1), count)
    outputs = {"means": means}
    if decided is not None:
        outputs["probability"] = _decided(means, *decided)
    for name, node in outputs.items():
        node.output(0).set_names({name})
    ids.output(0).set_names({"ids"})
    return ov.Model(list(outputs.values()), [ids], "encoder")


def _decided(means: Node, head: Head, calibration: Calibration) -> Node:
    """The head and its calibration, as one logistic function of a logit."""
    flat = ops.reshape(means, np.array([0, -1], np.int32), True)
    hidden = ops.relu(ops.add(ops.matmul(flat, head.inner, False, False), head.inner_bias))
    logit = ops.add(ops.matmul(hidden, head.outer, False, False), head.outer_bias)
    scaled = ops.multiply(logit, np.float32(calibration.scale))
    return ops.sigmoid(ops.add(scaled, np.float32(calibration.shift)))


def _int(value: int) -> Node:
    return ov.op.Constant(np.array(value, np.int32))


def _layer(base: Base, weights: Weights, name: str, state: Node, bias: Node) -> Node:
    """One post-norm transformer layer (Vaswani et al. 2017, section 3.1, with GELU)."""
    split = np.array([0, 0, base.heads, base.hidden // base.heads], np.int32)
    by_head = np.array([0, 2, 1, 3], np.int32)
    query, key, value = (
        ops.transpose(ops.reshape(_linear(weights, f"{name}attention.self.{part}", state), split, True), by_head)
        for part in ("query", "key", "value")
    )
    attended = ops.transpose(ops.scaled_dot_product_attention(query, key, value, bias), by_head)
    attended = ops.reshape(attended, np.array([0, 0, base.hidden], np.int32), True)
    attended = _linear(weights, name + "attention.output.dense", attended)
    state = _norm(base, weights, name + "attention.output.LayerNorm", ops.add(attended, state))
    inner = ops.gelu(_linear(weights, name + "intermediate.dense", state), "erf")
    return _norm(
        base, weights, name + "output.LayerNorm", ops.add(_linear(weights, name + "output.dense", inner), state)
    )


def _linear(weights: Weights, name: str, state: Node) -> Node:
    return ops.add(ops.matmul(state, weights[name + ".weight"], False, True), weights[name + ".bias"])


def _norm(base: Base, weights: Weights, name: str, state: Node) -> Node:
    """Layer normalisation (Ba et al. 2016)."""
    scaled = ops.mvn(state, np.array([-1], np.int32), True, base.layer_norm_eps, "inside_sqrt")
    return ops.add(ops.multiply(scaled, weights[name + ".weight"]), weights[name + ".bias"])
