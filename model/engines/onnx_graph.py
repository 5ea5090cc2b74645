"""The encoder as an ONNX graph, built from the weights themselves, in memory.

With fp32 every operator is a standard one (opset 20), so any program that reads ONNX runs it. With int8 the products
with weights are onnxruntime's `MatMulNBits`.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from model.adapter import Weights
from model.base import DEPTH, Base
from model.calibrate import Calibration
from model.head import Head
from model.tokenizing import PAD

Precision = Literal["int8", "f32"]

#: Neighbours along a row that share a scale, in weights and in what they are multiplied with. One scale a tensor, as
#: is usual, is 1.6 times as fast, changes several times as many labels, and lets texts of a batch change each other's
#: scores (docs/engines.md).
BLOCK = 32

_OPSET, _IR = 20, 10
_OURS = "com.microsoft"
_EMBEDDINGS = "embeddings."


def build(
    base: Base, weights: Weights, precision: Precision, decided: tuple[Head, Calibration] | None = None
) -> onnx.ModelProto:
    """ids (n, length) of int32, padded with `PAD` -> "means", float32 (n, `DEPTH`, hidden): means over the tokens of a
    text of each of the last layers. With `decided` there is a second output, "probability" (n), that a text is bad."""
    graph = _Graph(weights, precision)
    means = _encoder(graph, base)
    outputs = [helper.make_tensor_value_info("means", TensorProto.FLOAT, ["n", DEPTH, base.hidden])]
    graph.op("Identity", means, result="means")
    if decided is not None:
        _decide(graph, means, *decided)
        outputs.append(helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n"]))
    ids = helper.make_tensor_value_info("ids", TensorProto.INT32, ["n", "length"])
    made = helper.make_graph(graph.nodes, "classifier", [ids], outputs, graph.constants)
    opsets = [helper.make_opsetid("", _OPSET)]
    if precision == "int8":
        opsets.append(helper.make_opsetid(_OURS, 1))
    return helper.make_model(made, opset_imports=opsets, ir_version=_IR)


def blocks(weight: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A weight (out, in) in 8 bits: (out, in / BLOCK, BLOCK) around 128, and a scale for each block. Symmetric, so that
    zero stays zero."""
    cut = weight.reshape(len(weight), -1, BLOCK)
    scales = np.abs(cut).max(axis=2) / 127
    scales[scales == 0] = 1
    levels = np.clip(np.rint(cut / scales[..., None]), -127, 127) + 128
    return levels.astype(np.uint8), scales.astype(np.float32)


class _Graph:
    """Nodes and constants as they come, each with a name of its own."""

    def __init__(self, weights: Weights, precision: Precision) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._weights = weights
        self._precision = precision

    def constant(self, value: Any) -> str:
        """Python integers become int64, which is what shapes are made of."""
        name = f"c{len(self.constants)}"
        # A copy in C order; `ascontiguousarray` would make a vector of a scalar.
        self.constants.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def op(self, kind: str, *inputs: str, result: str = "", domain: str = "", **attributes: Any) -> str:
        result = result or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [result], domain=domain, **attributes))
        return result

    def weight(self, name: str) -> str:
        return self.constant(self._weights[name])

    def linear(self, name: str, state: str) -> str:
        weight, bias = self._weights[name + ".weight"], self.weight(name + ".bias")
        if self._precision == "f32":
            return self.op("Add", self.op("MatMul", state, self.constant(weight.T)), bias)
        levels, scales = blocks(weight)
        rows, columns = weight.shape
        return self.op(
            "MatMulNBits",
            *(state, self.constant(levels), self.constant(scales), "", "", bias),
            domain=_OURS,
            K=columns,
            N=rows,
            bits=8,
            block_size=BLOCK,
            accuracy_level=4,  # the other factor in 8 bits too, by rows and blocks
        )

    def norm(self, name: str, state: str, epsilon: float) -> str:
        """Layer normalisation (Ba et al. 2016)."""
        scale, shift = self.weight(name + ".weight"), self.weight(name + ".bias")
        return self.op("LayerNormalization", state, scale, shift, axis=-1, epsilon=epsilon)


def _encoder(graph: _Graph, base: Base) -> str:
    constant, op = graph.constant, graph.op
    present = op("Cast", op("Not", op("Equal", "ids", constant(np.int32(PAD)))), to=TensorProto.FLOAT)
    length = op("Shape", "ids", start=1)
    words = op("Gather", graph.weight(_EMBEDDINGS + "word_embeddings.weight"), "ids")
    places = op("Slice", graph.weight(_EMBEDDINGS + "position_embeddings.weight"), constant([0]), length)
    segment = op("Gather", graph.weight(_EMBEDDINGS + "token_type_embeddings.weight"), constant(0))
    state = op("Add", op("Add", words, places), segment)
    state = graph.norm(_EMBEDDINGS + "LayerNorm", state, base.layer_norm_eps)

    # Added to the attention scores: 0 where there is a token, far below any score where there is none.
    bias = op("Mul", op("Sub", present, constant(np.float32(1))), constant(np.float32(1e4)))
    bias = op("Unsqueeze", bias, constant([1, 2]))
    states = [state]
    for number in range(base.layers):
        states.append(_layer(graph, base, f"encoder.layer.{number}.", states[-1], bias))

    weight = op("Unsqueeze", present, constant([2]))
    count = op("ReduceSum", weight, constant([1]), keepdims=1)
    sums = [op("ReduceSum", op("Mul", state, weight), constant([1]), keepdims=1) for state in states[-DEPTH:]]
    return op("Div", op("Concat", *sums, axis=1), count)


def _layer(graph: _Graph, base: Base, name: str, state: str, bias: str) -> str:
    """One post-norm transformer layer (Vaswani et al. 2017, section 3.1, with GELU)."""
    op = graph.op
    width = base.hidden // base.heads
    split = graph.constant([0, 0, base.heads, width])
    query, key, value = (
        op("Reshape", graph.linear(f"{name}attention.self.{part}", state), split) for part in ("query", "key", "value")
    )
    query = op("Mul", op("Transpose", query, perm=[0, 2, 1, 3]), graph.constant(np.float32(width**-0.5)))
    scores = op("Add", op("MatMul", query, op("Transpose", key, perm=[0, 2, 3, 1])), bias)
    attended = op("MatMul", op("Softmax", scores, axis=-1), op("Transpose", value, perm=[0, 2, 1, 3]))
    attended = op("Reshape", op("Transpose", attended, perm=[0, 2, 1, 3]), graph.constant([0, 0, base.hidden]))
    attended = graph.linear(name + "attention.output.dense", attended)
    state = graph.norm(name + "attention.output.LayerNorm", op("Add", attended, state), base.layer_norm_eps)
    inner = op("Gelu", graph.linear(name + "intermediate.dense", state))
    inner = graph.linear(name + "output.dense", inner)
    return graph.norm(name + "output.LayerNorm", op("Add", inner, state), base.layer_norm_eps)


def _decide(graph: _Graph, means: str, head: Head, calibration: Calibration) -> None:
    """The head and its calibration, as one logistic function of a logit."""
    constant, op = graph.constant, graph.op
    flat = op("Reshape", means, constant([0, -1]))
    hidden = op("Relu", op("Add", op("MatMul", flat, constant(head.inner)), constant(head.inner_bias)))
    logit = op("Add", op("MatMul", hidden, constant(head.outer)), constant(head.outer_bias))
    scaled = op("Mul", logit, constant(np.float32(calibration.scale)))
    op("Sigmoid", op("Add", scaled, constant(np.float32(calibration.shift))), result="probability")
