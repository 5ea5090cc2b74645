"""What one client, and all clients together, may ask of the push API."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.sources.problem import Problem

#: Clients that are remembered; the one that has been quiet longest is forgotten, and starts anew.
MAX_CLIENTS = 10_000


class RateLimit:
    """A token bucket for each client: `rate` items a second, a second's worth at once.

    A push is let in when something is left, whatever its size; what it takes too much is owed. So a client that
    sends large pushes is slowed to the rate, and none is too large to be sent at all.
    """

    def __init__(self, rate: float, monotonic: Callable[[], float]) -> None:
        self._rate = rate
        self._monotonic = monotonic
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()  # items left, as of seconds

    def check(self, client: str) -> None:
        """Raises Problem (429) when the client has nothing left."""
        left = self._left(client)
        if left <= 0:
            wait_s = max(1, math.ceil(-left / self._rate))
            raise Problem(
                429, f"more than {self._rate:,.0f} items a second; wait {wait_s} s", {"Retry-After": str(wait_s)}
            )

    def take(self, client: str, items: int) -> None:
        """Raises Problem (429) when the client has nothing left, and takes nothing."""
        self.check(client)
        self._clients[client] = (self._left(client) - items, self._monotonic())
        self._clients.move_to_end(client)
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)

    def _left(self, client: str) -> float:
        left, since = self._clients.get(client, (self._rate, 0.0))
        return min(self._rate, left + (self._monotonic() - since) * self._rate)


class Room:
    """The memory that bodies may take together, from their first byte until they are stored."""

    def __init__(self, max_bytes: int) -> None:
        self._free = max_bytes

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """A function that takes bytes, given back at the end; it raises Problem (503) when none are left."""
        taken = 0

        def take(count: int) -> None:
            nonlocal taken
            if count > self._free:
                raise Problem(503, "too many requests at once; send this one again", {"Retry-After": "1"})
            taken += count
            self._free -= count

        try:
            yield take
        finally:
            self._free += taken
