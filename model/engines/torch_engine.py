"""The encoder on torch: for a CUDA device, and a CPU where OpenVINO does not run."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.adapter import Weights
from model.base import Base
from model.engines.cuda_graphs import CudaGraphs
from model.engines.forward_pass import ForwardPass
from model.engines.padding import padded, rows_bucket
from pipeline.errors import ModelError

Precision = Literal["bf16", "f32"]

_TYPES: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "f32": torch.float32}

#: Batches that a CUDA device has been given before the first of them is fetched.
_AHEAD = 2


class TorchEncoder:
    """Runs batches: bf16 on CUDA, fp32 on a CPU. Not for use by several threads at once.

    On CUDA nothing waits for the device but the fetching of a result: batches go there from pinned memory, results
    come back to it, and `means_of_each` fetches one while the next ones run.
    """

    name = "torch"

    def __init__(
        self,
        base: Base,
        weights: Weights,
        threads: int | None = None,
        *,
        device: Literal["cuda", "cpu"] | None = None,
        precision: Precision | None = None,
    ) -> None:
        """`weights` of the encoder, shaped as `base` says; `threads`: how many a CPU may use (for this process), None
        leaves that to torch; `device` None: CUDA where there is one; `precision` None: bf16 on CUDA, else f32.
        Raises ModelError."""
        if threads is not None:
            torch.set_num_threads(threads)
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._cuda = self._device.type == "cuda"
        chosen: Precision = precision or ("bf16" if self._cuda else "f32")
        self.precision: str = chosen
        try:
            network = ForwardPass(base, weights, self._device, _TYPES[chosen])
        except (KeyError, RuntimeError) as error:
            raise ModelError(f"torch cannot run the encoder in {base.folder}: {error}") from error
        self._run = CudaGraphs(network.means) if self._cuda else network.means

    def means(self, batch: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Means (n, `DEPTH`, hidden) of the last layers, in the order of the batch. Raises ModelError."""
        (result,) = self.means_of_each([batch])
        return result

    def means_of_each(self, batches: Iterable[Sequence[Sequence[int]]]) -> Iterator[NDArray[np.float32]]:
        """`means` of each batch, in order; on CUDA, `_AHEAD` batches are taken before the first result is given."""
        started: deque[_Started] = deque()
        for batch in batches:
            started.append(self._start(batch))
            if len(started) > (_AHEAD if self._cuda else 0):
                yield self._fetch(started.popleft())
        while started:
            yield self._fetch(started.popleft())

    def _start(self, batch: Sequence[Sequence[int]]) -> _Started:
        with self._named_errors(), torch.inference_mode():
            if not self._cuda:
                return _Started(len(batch), self._run(torch.from_numpy(padded(batch))), None)
            ids = torch.from_numpy(padded(batch, rows=rows_bucket(len(batch)))).pin_memory()
            means = self._run(ids.to(self._device, non_blocking=True))
            on_host = torch.empty(means.shape, dtype=means.dtype, pin_memory=True)
            on_host.copy_(means, non_blocking=True)
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record()
            return _Started(len(batch), on_host, done)

    def _fetch(self, started: _Started) -> NDArray[np.float32]:
        with self._named_errors():
            if started.done is not None:
                started.done.synchronize()
            result: NDArray[np.float32] = started.means[: started.rows].numpy()
            return result

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise ModelError(f"the forward pass failed on {self._device}: {error}") from error


class _Started(NamedTuple):
    """A batch of `rows` texts on its way: its means in memory of the host, which are there once `done` has come."""

    rows: int
    means: Tensor
    done: torch.cuda.Event | None
