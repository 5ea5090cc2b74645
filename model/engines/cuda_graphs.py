"""CUDA graphs: a forward pass of a shape is recorded once, then started with one call instead of some hundred.

Without it, a batch of short texts takes a GPU less time than Python takes to start its kernels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import structlog
import torch
from torch import Tensor

Shape = tuple[int, int]

#: Recorded shapes at most; the least recently used makes room.
MOST = 64

#: A shape is recorded when it comes for this time: rests of a slice come once.
_WORTH_IT = 2

#: Passes before a recording, in which libraries choose and set up their kernels.
_WARM_UP = 3


class CudaGraphs:
    """Runs a function of one tensor, recorded by the tensor's shape. For one thread, on its current stream.

    Where recording fails, that is said once, and every call from then on runs the function as it is.
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function
        self._seen: dict[Shape, int] = {}
        self._recorded: OrderedDict[Shape, tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = OrderedDict()
        self._pool: Any = None  # a handle whose type torch keeps to itself
        self._works = True

    def __call__(self, given: Tensor) -> Tensor:
        """The result is valid until the next call: copy it, on the same stream."""
        shape = (given.shape[0], given.shape[1])
        self._seen[shape] = self._seen.get(shape, 0) + 1
        if not self._works or self._seen[shape] < _WORTH_IT:
            return self._function(given)
        if shape not in self._recorded:
            try:
                self._record(shape, given)
            except RuntimeError as error:
                self._works = False
                self._recorded.clear()
                structlog.get_logger().warning("CUDA graphs do not work here; passes are slower", why=str(error))
                return self._function(given)
        self._recorded.move_to_end(shape)
        graph, source, result = self._recorded[shape]
        source.copy_(given, non_blocking=True)
        graph.replay()
        return result

    def _record(self, shape: Shape, given: Tensor) -> None:
        source = given.clone()
        # As PyTorch's notes on CUDA graphs have it: warm up on another stream, then record.
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                self._function(source)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        # One pool of memory for all: their results are kept, so only what is needed within a pass is shared.
        # Another thread may load a classifier onto the device meanwhile: only what this one does is recorded.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            result = self._function(source)
        if len(self._recorded) >= MOST:
            rarest, _ = self._recorded.popitem(last=False)
            del self._seen[rarest]  # it must come often again, else two rare shapes are recorded in turns for ever
        self._recorded[shape] = (graph, source, result)
