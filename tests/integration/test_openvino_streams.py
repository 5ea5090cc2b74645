"""Pieces of batches on OpenVINO's streams: rows stay in their order, whatever ends first."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from model.engines.openvino_streams import PIECE_TOKENS, Streams

_SETTINGS = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 2, "INFERENCE_NUM_THREADS": 2}


@pytest.fixture(scope="module")
def sums() -> Streams:
    """A graph whose result for a text is the sum of its ids."""
    ids = ops.parameter([-1, -1], np.int32, name="ids")
    total = ops.reduce_sum(ops.convert(ids, "f32"), np.array([1], np.int32), True)
    return Streams(ov.Core().compile_model(ov.Model([total], [ids], "sums"), "CPU", _SETTINGS), (1,))


def _batches(sizes: list[int]) -> list[list[list[int]]]:
    """Batches of texts of many lengths, in no order; ids small enough that float32 adds them exactly."""
    draw = np.random.default_rng(3)
    return [[draw.integers(1, 50, draw.integers(1, 250)).tolist() for _ in range(size)] for size in sizes]


def test_each_row_has_the_result_of_its_text(sums: Streams) -> None:
    batches = _batches([1, 200, 3, 77])
    assert sum(map(len, batches[1])) > 4 * PIECE_TOKENS  # cut into more pieces than are begun at once
    results = list(sums.run(batches))
    assert [result[:, 0].tolist() for result in results] == [[sum(text) for text in batch] for batch in batches]


def test_the_next_batch_is_begun_before_the_first_is_handed_out(sums: Streams) -> None:
    taken = []
    results = sums.run(taken.append(i) or batch for i, batch in enumerate(_batches([1, 1, 1])))  # type: ignore[func-returns-value]
    next(results)
    assert taken == [0, 1, 2]
    assert len(list(results)) == 2


def test_results_that_nobody_fetches_do_not_disturb_the_next_ones(sums: Streams) -> None:
    batches = _batches([300, 300])
    abandoned = sums.run(batches)
    next(abandoned)
    abandoned.close()
    (result,) = sums.run([[[1, 2], [3]]])
    assert result[:, 0].tolist() == [3, 3]


def test_a_failure_leaves_the_streams_usable(sums: Streams) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        list(sums.run([[[1, 2]], [["no", "ids"]], [[3]]]))  # type: ignore[list-item]
    (result,) = sums.run([[[4]]])
    assert result[0, 0] == 4


def test_no_batches_give_no_results(sums: Streams) -> None:
    assert list(sums.run([])) == []
