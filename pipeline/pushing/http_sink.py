"""A push over HTTP: to a running `tocsin up` or `tocsin run api`."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from pipeline.errors import TocsinError
from pipeline.instants import to_iso
from pipeline.pushing.batch import Batch, Run
from pipeline.pushing.patience import Patience
from pipeline.sources import framed_body
from pipeline.sources.framed_body import FramedItems

_TIMEOUT_S = 60.0
_LATER = (429, 503)


class HttpSink:
    """See Sink. Each run is a push of its own, under a key made of its ids: sent again, it is stored once."""

    def __init__(self, url: str, token: str | None, stream: str, into: str, patience: Patience) -> None:
        """Raises TocsinError where nothing answers."""
        self.where = f"{stream}/{into} at {url}"
        self._patience = patience
        self._place = {"stream": stream, "into": into}
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_S, trust_env=False)
        try:
            self._client.get("/healthz")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self._client.close()
            raise TocsinError(
                f"nothing answers at {url} ({error}); start `tocsin up`, or say where it is: --url, or TOCSIN_KAFKA"
            ) from None

    def close(self) -> None:
        self._client.close()

    def send(self, batch: Batch) -> int:
        return sum(self._push(run) for run in batch.runs)

    def heartbeat(self, time_us: int) -> None:
        body = {"stream": self._place["stream"], "into": self._place["into"], "time": to_iso(time_us)}
        self._until_taken(lambda: self._client.post("/v1/heartbeats", json=body))

    def _push(self, run: Run) -> int:
        body = framed_body.encode(FramedItems(run.form, run.payloads, run.ids, run.note))
        headers = {"content-type": framed_body.MEDIA_TYPE, "idempotency-key": f"{run.ids[-1]}-{len(run.ids)}"}
        params = {**self._place, "source": run.source[:200]}
        answer = self._until_taken(lambda: self._client.post("/v1/items", content=body, headers=headers, params=params))
        return len(run.ids) if answer.json()["repeated"] else 0

    def _until_taken(self, ask: Callable[[], httpx.Response]) -> httpx.Response:
        """Ask until the answer is 202. Raises TocsinError when it is refused."""
        while True:
            try:
                answer = ask()
            except httpx.TransportError as error:
                self._patience.wait(f"nothing answers at {self._client.base_url} ({error or type(error).__name__})", 1)
                continue
            if answer.status_code == 202:
                self._patience.over()
                return answer
            said = _detail(answer)
            if answer.status_code not in _LATER:
                raise TocsinError(f"{self._client.base_url} refuses it ({answer.status_code}): {said}")
            self._patience.wait(said, _pause_s(answer))


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])[:500]
    except (ValueError, KeyError, TypeError):
        return answer.text[:200] or "it says no more"


def _pause_s(answer: httpx.Response) -> float:
    said = answer.headers.get("retry-after", "")
    return min(float(said), 30.0) if said.isdecimal() else 1.0
