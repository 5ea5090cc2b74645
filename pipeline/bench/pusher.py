"""The pusher of the exactness bench: some of the feed goes over HTTP, each push repeated until it is acknowledged."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Sequence

import httpx

#: Items in one push at the most.
MOST_ITEMS = 40
_RETRY_S = 0.2
_TIMEOUT_S = 15.0


class Pusher(threading.Thread):
    """Pushes what it is given to whichever of `urls` answers. `acknowledged` are the ids of items that got a 202."""

    def __init__(self, urls: Sequence[str], stream: str) -> None:
        super().__init__(name="pusher", daemon=True)
        self._urls = itertools.cycle(urls)
        self._stream = stream
        self._items: queue.SimpleQueue[tuple[str, bytes] | None] = queue.SimpleQueue()
        self._ended = False
        self.acknowledged: list[str] = []
        self.repeats = 0

    def push(self, id: str, item: bytes) -> None:
        """Have an item pushed, in order."""
        self._items.put((id, item))

    def finish(self, timeout_s: float) -> bool:
        """Whether everything was acknowledged in time."""
        self._items.put(None)
        self.join(timeout_s)
        return not self.is_alive()

    def run(self) -> None:
        with httpx.Client(timeout=_TIMEOUT_S) as client:
            for number in itertools.count():
                batch = self._gather()
                if batch:
                    self._until_acknowledged(client, f"push-{number}", batch)
                if self._ended:
                    return

    def _gather(self) -> list[tuple[str, bytes]]:
        batch: list[tuple[str, bytes]] = []
        item = self._items.get()
        while True:
            if item is None:
                self._ended = True
                return batch
            batch.append(item)
            if len(batch) == MOST_ITEMS or self._items.empty():
                return batch
            item = self._items.get()

    def _until_acknowledged(self, client: httpx.Client, key: str, batch: list[tuple[str, bytes]]) -> None:
        """The same push under the same key, until one of the workers says that it is stored."""
        pause = threading.Event()
        while True:
            try:
                answer = client.post(
                    f"{next(self._urls)}/v1/items",
                    params={"stream": self._stream},
                    content=b"\n".join(item for _, item in batch),
                    headers={"Content-Type": "application/x-ndjson", "Idempotency-Key": key},
                )
                if answer.status_code == 202:
                    self.acknowledged += [id for id, _ in batch]
                    return
            except httpx.HTTPError:
                pass  # killed, frozen or not up yet
            self.repeats += 1
            pause.wait(_RETRY_S)
