"""The torch engine on a CUDA device, and what of it holds without one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model import registry
from model.base import find_base
from model.engines.cuda_graphs import CudaGraphs
from model.engines.openvino_engine import OpenVinoEncoder
from model.engines.torch_engine import TorchEncoder

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

BASE = find_base()
#: Lengths and numbers of rows that share no shape, and some that do.
BATCHES = [
    [[101, *range(2000, 2000 + length), 102] for length in lengths]
    for lengths in ([3, 9, 12], [40] * 17, [1], [200, 3], [40] * 17, [41] * 17, [3, 9, 13], [40] * 17, [5] * 70)
]


@pytest.fixture(scope="module")
def fp32() -> TorchEncoder:
    return TorchEncoder(BASE, registry.load().encoder_weights(BASE), threads=2, device="cpu")


def test_bf16_on_torch_is_as_near_to_fp32_as_bf16_on_openvino_may_be(fp32: TorchEncoder) -> None:
    """The precision of CUDA, on the CPU: the same rounding, by other kernels."""
    weights = registry.load().encoder_weights(BASE)
    bf16 = TorchEncoder(BASE, weights, threads=2, device="cpu", precision="bf16")
    exact = OpenVinoEncoder(BASE, weights, threads=2, precision="f32")
    for batch in BATCHES:
        np.testing.assert_allclose(fp32.means(batch), exact.means(batch), atol=1e-4)
        assert np.abs(bf16.means(batch) - exact.means(batch)).mean() < 0.01


@pytest.mark.skipif(torch.cuda.is_available(), reason="recording works here")
def test_where_a_graph_cannot_be_recorded_the_pass_runs_as_it_is() -> None:
    graphs = CudaGraphs(lambda given: given * 2)
    for number in range(4):
        assert graphs(torch.full((2, 3), number)).tolist() == [[2 * number] * 3] * 2


@needs_cuda
def test_cuda_gives_what_the_cpu_gives(fp32: TorchEncoder) -> None:
    cuda = TorchEncoder(BASE, registry.load().encoder_weights(BASE), device="cuda")
    for _ in range(3):  # as it is, recorded, replayed
        for batch, means in zip(BATCHES, cuda.means_of_each(BATCHES), strict=True):
            assert np.abs(means - fp32.means(batch)).mean() < 0.01


@needs_cuda
def test_results_on_their_way_are_not_overwritten_by_later_batches() -> None:
    cuda = TorchEncoder(BASE, registry.load().encoder_weights(BASE), device="cuda")
    first = [means.copy() for means in cuda.means_of_each(BATCHES * 3)]
    kept = list(cuda.means_of_each(BATCHES * 3))
    for one, other in zip(first, kept, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


@needs_cuda
def test_a_recorded_pass_gives_what_the_pass_gives() -> None:
    graphs = CudaGraphs(lambda given: given.float().cumsum(1))
    for number in range(5):
        given = torch.full((4, 16), number, device="cuda")
        assert torch.equal(graphs(given), given.float().cumsum(1))
