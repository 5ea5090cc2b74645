"""The demo: a generated day through the whole local runtime, to a receiver that verifies signatures.

Nothing is faked: items are pushed over HTTP into the journal, scored by the real classifier, counted, judged, stored
in Postgres and delivered over HTTP. Only the day is made up, so that what was planted is known.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import httpx
import msgspec
from sqlalchemy import Engine, func, select

from alerts import subscriptions, tables
from alerts.keyring import Keyring
from alerts.receiver import Receiver
from alerts.routing import Route
from alerts.store import create_engine, transaction
from model.engines.choose import load_engine
from pipeline.clock import now_us
from pipeline.demo.day import Day, generate
from pipeline.demo.matching import Result, match
from pipeline.errors import TocsinError
from pipeline.instants import to_iso
from pipeline.records import Transition, decode
from pipeline.runtime.datafolder import DataFolder
from pipeline.runtime.local import LocalRuntime, running
from pipeline.settings import load as load_settings
from pipeline.stream_file import StreamFile
from pipeline.stream_file import parse as parse_streams
from pipeline.streams import Definition

#: Items in one push.
PUSH_ITEMS = 500
#: Seconds that the whole day may take before the demo gives up.
DEADLINE_S = 300.0
_POLL_S = 0.1
_CONTENT_TYPES = {"json": "application/x-ndjson", "line": "text/plain"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the demo ended. `verified` are the deliveries that arrived with a valid signature."""

    result: Result
    planted: int
    deliveries: int
    delivered: int
    verified: int
    seconds: float

    @property
    def passed(self) -> bool:
        """All planted surges found, and every webhook delivered and verified."""
        return not self.result.missed and self.delivered == self.verified == self.deliveries > 0

    def as_json(self) -> dict[str, Any]:
        return {
            "planted": self.planted,
            "found": len(self.result.found),
            "false_alarms": len(self.result.false_alarms),
            "delivered": self.delivered,
            "verified": self.verified,
            "seconds": round(self.seconds, 1),
        }


def demo_streams() -> StreamFile:
    """The streams of the demo."""
    text = resources.files("pipeline.demo").joinpath("demo_streams.toml").read_text(encoding="utf-8")
    return parse_streams(text, "the demo's streams")


def run_demo(seed: int, engine_name: str, say: Callable[[str], None]) -> Outcome:
    """Run the day of `seed`; progress goes to `say`. Raises TocsinError when it does not end in time."""
    began = time.monotonic()
    day = generate(seed)
    count = sum(len(items) for items in day.items.values())
    say(f"a day with {count:,} items and {len(day.planted)} planted surges (seed {seed})")
    engine = load_engine(engine_name, base=load_settings().base)
    with tempfile.TemporaryDirectory(prefix="tocsin-demo-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # Postgres may run as another user
        settings = load_settings(data=folder, port=0, host="127.0.0.1", egress_allow=["127.0.0.1"], egress_http=True)
        streams = demo_streams()
        with Receiver() as receiver, running(settings, streams, lambda: engine) as runtime:
            say(f"Postgres, Valkey and the push API run; classifier: {engine.name}")
            database = create_engine(runtime.database_url, pool_size=1)
            try:
                keyring = Keyring(settings.secret_key or DataFolder(folder).secret_key())
                _subscribe(database, keyring, receiver)
                _push(day, streams, runtime, say)
                told = _wait(database, runtime, began, say)
                receiver.wait_for(told, timeout_s=10)
                found = _transitions(database)
                delivered = _count(database, "delivered")
            finally:
                database.dispose()
    verified = {one.webhook_id for one in receiver.received if one.verified}
    return Outcome(
        match(day.planted, found), len(day.planted), told, delivered, len(verified), time.monotonic() - began
    )


def table_of(outcome: Outcome) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """What was planted, found and when: head and rows."""
    found = dict(outcome.result.found)
    rows: list[tuple[str, ...]] = []
    for surge in sorted([*found, *outcome.result.missed], key=lambda s: (s.start_us, s.stream)):
        transition = found.get(surge)
        rows.append(
            (
                f"{surge.stream}/{surge.group}",
                surge.what,
                _hour(surge.start_us),
                _hour(transition.tick_end_us) if transition else "MISSED",
                transition.severity if transition else "",
                f"{transition.observed} for {transition.expected:g}" if transition else "",
            )
        )
    for transition in outcome.result.false_alarms:
        rows.append(
            (
                f"{transition.stream}/{transition.group}",
                "nothing: a false alarm",
                "",
                _hour(transition.tick_end_us),
                transition.severity,
                f"{transition.observed} for {transition.expected:g}",
            )
        )
    head = ("key", "what was planted", "from", "alert at", "severity", "bad ones")
    return head, rows


def _hour(instant_us: int) -> str:
    return to_iso(instant_us)[11:16]


def _subscribe(database: Engine, keyring: Keyring, receiver: Receiver) -> None:
    with transaction(database) as connection:
        _, secret = subscriptions.add(
            connection, url=receiver.url("/hook"), wanted=Route(), keyring=keyring, now_us=now_us()
        )
    receiver.secrets["/hook"] = secret


def _push(day: Day, file: StreamFile, runtime: LocalRuntime, say: Callable[[str], None]) -> None:
    """Push the day stream by stream in small batches, the streams side by side, then end their clocks."""
    pushes = {stream: _batches(day, stream) for stream in day.items}
    sent = 0
    with httpx.Client(base_url=runtime.url, timeout=60, trust_env=False) as client:
        while pushes:
            for stream in list(pushes):
                batch = next(pushes[stream], None)
                if batch is None:
                    del pushes[stream]
                    _end_clock(client, file.streams[stream], day.items[stream][-1].time_us)
                    continue
                number, payloads = batch
                answer = client.post(
                    "/v1/items",
                    params={"stream": stream},
                    content=b"\n".join(payloads),
                    headers={
                        "content-type": _CONTENT_TYPES[day.forms[stream]],
                        "idempotency-key": f"demo-{stream}-{number}",
                    },
                )
                _check(answer)
                sent += len(payloads)
    say(f"pushed {sent:,} items; all are durable in the journal")


def _batches(day: Day, stream: str) -> Iterator[tuple[int, list[bytes]]]:
    items = day.items[stream]
    for start in range(0, len(items), PUSH_ITEMS):
        yield start, [item.payload for item in items[start : start + PUSH_ITEMS]]


def _end_clock(client: httpx.Client, definition: Definition, last_us: int) -> None:
    """The publisher's last word: nothing of this day is still to come."""
    end_us = definition.ticks.end_us(definition.ticks.index(last_us)) + definition.lateness_us
    beat = {"stream": definition.name, "time": to_iso(end_us)}
    _check(client.post("/v1/heartbeats", content=msgspec.json.encode(beat)))


def _check(answer: httpx.Response) -> None:
    if answer.status_code != 202:
        raise TocsinError(f"the push API answered {answer.status_code}: {answer.text[:300]}")


def _wait(database: Engine, runtime: LocalRuntime, began: float, say: Callable[[str], None]) -> int:
    """Wait until everything is folded, stored and delivered; the number of deliveries."""
    said = time.monotonic()
    while True:
        if runtime.error is not None:
            raise runtime.error
        behind = runtime.behind()
        if behind == 0 and runtime.stored():
            pending, told = _count(database, "pending"), _count(database, None)
            if pending == 0:
                return told
        if time.monotonic() - began > DEADLINE_S:
            raise TocsinError(f"the day did not end within {DEADLINE_S:.0f} s: {behind:,} items are still to be folded")
        if time.monotonic() - said > 2:
            say(f"{behind:,} items still to be scored and counted")
            said = time.monotonic()
        time.sleep(_POLL_S)


def _count(database: Engine, state: str | None) -> int:
    wanted = select(func.count()).select_from(tables.deliveries)
    if state is not None:
        wanted = wanted.where(tables.deliveries.c.state == state)
    with transaction(database) as connection:
        return connection.scalar(wanted) or 0


def _transitions(database: Engine) -> list[Transition]:
    with transaction(database) as connection:
        rows = connection.execute(
            select(tables.transitions.c.encoded).join(tables.alerts).where(tables.alerts.c.kind == "surge")
        ).all()
    return [decode(bytes(row.encoded), Transition) for row in rows]
