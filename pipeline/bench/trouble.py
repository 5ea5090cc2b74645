"""Trouble for a deployment while data flows: what is killed, frozen, restarted and changed, and when."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil  # type: ignore[import-untyped, unused-ignore]

from pipeline.bench.deployment import BenchDeployment
from pipeline.bench.feed import STREAMS, Feed
from pipeline.bench.fleet import Fleet, Worker
from pipeline.errors import BrokerUnavailable, ConfigurationError

#: Seconds that a frozen worker is held: longer than Kafka waits for a member of a group.
FROZEN_S = (8.0, 11.0)
#: A definition follows from so many ticks on beyond what the raw topics hold: some seconds of the feed.
AHEAD_TICKS = 30
#: Seconds within which it must be possible to apply it.
BROKER_BACK_S = 60.0

KINDS = ("api", "ingest", "score", "aggregate", "dispatch", "deliver")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is done to the fleet while data flows. A killed broker stays away for `broker_away_s`, 0: some seconds.
    `changes` are definitions that follow one another, each from a tick on."""

    seed: int
    kills: int
    stops: int
    broker_kills: int
    broker_away_s: float = 0.0
    postgres_kills: int = 0
    valkey_kills: int = 0
    rolling: bool = False
    parallelism: int = 2
    joins: int = 0
    changes: int = 1
    rate: float = 500.0


@dataclass(slots=True)
class Deeds:
    """What has been done."""

    kills: Counter[str] = field(default_factory=Counter)
    stops: Counter[str] = field(default_factory=Counter)
    broker_kills: int = 0
    postgres_kills: int = 0
    valkey_kills: int = 0
    rolled: int = 0
    joined: int = 0
    changes: int = 0


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing to do, so many seconds after the one before."""

    what: str
    kind: str
    wait_s: float
    hold_s: float = 0.0


def deeds_of(plan: Plan) -> list[Deed]:
    """Everything in a random order; every kind of worker is killed in turn, so each is hit."""
    draw = random.Random(plan.seed)
    kinds = list(KINDS)
    draw.shuffle(kinds)
    victims = itertools.cycle(kinds)
    frozen = itertools.cycle(["aggregate", "score", "ingest", "dispatch"])
    what = [("kill", next(victims)) for _ in range(plan.kills)]
    what += [("stop", next(frozen)) for _ in range(plan.stops)]
    what += [("broker", "")] * plan.broker_kills + [("postgres", "")] * plan.postgres_kills
    what += [("valkey", "")] * plan.valkey_kills + [("join", "")] * plan.joins + [("change", "")] * plan.changes
    what += [("roll", "")] if plan.rolling else []
    draw.shuffle(what)
    return [
        Deed(deed, kind, 8.0 if n == 0 else draw.uniform(1.0, 4.0), draw.uniform(*FROZEN_S))
        for n, (deed, kind) in enumerate(what)
    ]


def do(deed: Deed, plan: Plan, deployment: BenchDeployment, fleet: Fleet, feed: Feed, deeds: Deeds, say: Say) -> None:
    draw = random.Random(f"{deed.what}{deed.kind}{deed.wait_s}")
    say(f"{feed.sent:8,} items fed: {deed.what} {deed.kind}".rstrip())
    if deed.what == "kill":
        worker = draw.choice(fleet.of(deed.kind))
        fleet.kill(worker)
        deeds.kills[deed.kind] += 1
        settle(fleet, feed, draw.uniform(0.0, 2.0), but=worker)
        fleet.start(worker)
    elif deed.what == "stop":
        worker = draw.choice(fleet.of(deed.kind))
        fleet.freeze(worker)
        deeds.stops[deed.kind] += 1
        settle(fleet, feed, deed.hold_s)
        fleet.thaw(worker)
    elif deed.what == "broker":
        deployment.broker.kill()
        deeds.broker_kills += 1
        settle(fleet, feed, plan.broker_away_s or draw.uniform(0.5, 3.0))
        deployment.broker.start()
    elif deed.what == "postgres":
        # A server process that dies so makes Postgres drop every connection and recover from its log.
        psutil.Process(deployment.postgres.pid).children()[0].kill()
        deeds.postgres_kills += 1
    elif deed.what == "valkey":
        assert deployment.valkey is not None
        deployment.valkey.ensure_running()
        psutil.Process(deployment.valkey.pid).kill()
        deeds.valkey_kills += 1
    elif deed.what == "roll":
        for worker in fleet.workers:
            fleet.stop(worker)
            fleet.start(worker)
            deeds.rolled += 1
            settle(fleet, feed, 1.0)
    elif deed.what == "change":
        _change(deployment, fleet, feed, deeds)
    elif deed.what == "join":
        kind = draw.choice(["ingest", "score", "aggregate"])
        fleet.add(kind, 1)
        fleet.start(fleet.of(kind)[-1])
        deeds.joined += 1


def _change(deployment: BenchDeployment, fleet: Fleet, feed: Feed, deeds: Deeds) -> None:
    """Apply another definition from a tick that no clock has reached. The broker may be about to come back."""
    deeds.changes += 1
    text = STREAMS.replace("threshold", f"q = 0.{10 + deeds.changes}\nthreshold")
    until_s = time.monotonic() + BROKER_BACK_S
    while True:
        try:
            deployment.apply(text, AHEAD_TICKS)
            return
        except (BrokerUnavailable, ConfigurationError):
            # Also where the definition before has not come to its tick in every partition.
            if time.monotonic() > until_s:
                raise
            settle(fleet, feed, 1.0)


def settle(fleet: Fleet, feed: Feed, seconds: float, *, but: Worker | None = None) -> None:
    """Let data flow for a while; what has ended by itself is started again."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        if feed.error is not None:
            raise feed.error
        for worker in fleet.workers:
            if worker is not but and worker.process is not None and (code := worker.process.poll()) is not None:
                fleet.died.append((worker.name, code))
                fleet.start(worker)
        time.sleep(0.1)
