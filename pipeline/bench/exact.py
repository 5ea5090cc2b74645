"""The exactness bench: two of each worker on a real broker, killed, frozen and started again while data flows.

Afterwards the raw log is read back, and what the deployment has said is compared with the local runtime on the same
log and with a plain count in dictionaries.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from alerts import schema, subscriptions
from alerts.keyring import Keyring
from alerts.receiver import Receiver
from alerts.routing import Route
from alerts.store import create_engine, transaction
from pipeline.bench.compare import compared, fates, local_run, stored
from pipeline.bench.deployment import BenchDeployment, bench_deployment
from pipeline.bench.feed import STREAM, STREAMS, Feed
from pipeline.bench.fleet import Fleet
from pipeline.bench.pusher import Pusher
from pipeline.bench.trouble import KINDS, Deeds, Plan, Say, deeds_of, do, settle
from pipeline.clock import now_us
from pipeline.errors import StoreUnavailable, TocsinError
from pipeline.servers.kafka_broker import free_port
from pipeline.servers.postgres import LocalPostgres

#: Share of the scorers' transactions that are aborted on purpose.
SPOILED = 0.1
#: Surges that a run must have shown its exactness on.
SURGES = 50
#: Seconds until everything that was fed must have come through.
DRAIN_S = 240.0


def run_exact(plan: Plan, say: Say, logs: Path | None = None) -> dict[str, Any]:
    """One run; the figures. The workers' logs are kept in `logs`, else they go with the run.

    Raises ServerStartFailed where there is no Kafka, TocsinError when not all comes through.
    """
    began_s = time.monotonic()
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver())
        deployment = stack.enter_context(
            bench_deployment(
                STREAMS,
                engine="null",
                buckets=4,
                kafka_signal_partitions=4,
                kafka_raw_partitions=4,
                slice_items=400,
                checkpoint_s=1.0,
                valkey=plan.valkey_kills > 0,
            )
        )
        live = create_engine(deployment.database_url)
        stack.callback(live.dispose)
        _subscribe(deployment, live, receiver)
        fleet = stack.enter_context(_fleet(deployment, plan, logs or deployment.folder / "logs"))
        say(f"broker, Postgres and {len(fleet.workers)} workers run; feeding {plan.rate:g} items a second")
        pusher = Pusher([f"http://127.0.0.1:{port}" for port in _ports(fleet)], STREAM)
        pusher.start()
        feed = Feed(deployment.settings, seed=plan.seed, rate=plan.rate, pusher=pusher)
        feed.start()
        deeds = Deeds()
        for deed in deeds_of(plan):
            settle(fleet, feed, deed.wait_s)
            do(deed, plan, deployment, fleet, feed, deeds, say)
        while feed.is_alive() and (_surges(live) < SURGES + 5 or not _changed(deployment, deeds)):
            settle(fleet, feed, 2.0)
        feed.finish()
        feed.join()
        if feed.error is not None:
            raise feed.error
        say(f"fed {feed.sent:,} items with {feed.bursts} bursts; waiting until all came through")
        _drain(deployment, fleet, live, receiver, say)
        codes = [fleet.stop(worker) for worker in fleet.workers]
        say("comparing with the local runtime and the plain count")
        with LocalPostgres(deployment.folder / "local-postgres").running() as url:
            schema.upgrade(url)
            local = local_run(deployment, url)
        result = compared(deployment, live, local, receiver.received, pusher.acknowledged)
        own = fates(deployment)
        result["fates_equal"] = own == {name: result[name] for name in own}
        return result | {
            "seed": plan.seed,
            "pushed": len(pusher.acknowledged),
            "push_repeats": pusher.repeats,
            "kills": deeds.kills.total(),
            "stops": deeds.stops.total(),
            "broker_kills": deeds.broker_kills,
            "postgres_kills": deeds.postgres_kills,
            "valkey_kills": deeds.valkey_kills,
            "rolling_restarts": deeds.rolled,
            "joined": deeds.joined,
            "changes": deeds.changes,
            "killed": dict(sorted(deeds.kills.items())),
            "stopped": dict(sorted(deeds.stops.items())),
            "died_by_themselves": len(fleet.died),
            "unclean_stops": sum(code != 0 for code in codes),
            "seconds": round(time.monotonic() - began_s, 1),
        }


def exact(result: dict[str, Any]) -> bool:
    """Whether a run has shown what it must."""
    zero = ("lost", "missing", "extra", "wrong", "duplicate_alerts", "deliveries_twice_with_another_id", "undelivered")
    return (
        all(result[name] == 0 for name in zero)
        and result["digest_equal"]
        and result["fates_equal"]
        and result["surges"] >= SURGES
        and result["definitions"] == 1 + result["changes"]
    )


@contextmanager
def _fleet(deployment: BenchDeployment, plan: Plan, logs: Path) -> Iterator[Fleet]:
    logs.mkdir(parents=True, exist_ok=True)
    fleet = Fleet(logs, deployment.environment)
    for kind in KINDS:
        if kind == "score":
            command = (sys.executable, "-m", "pipeline.bench.spoiled_score")
            fleet.add(kind, plan.parallelism, command=command, environment={"TOCSIN_BENCH_SPOIL": str(SPOILED)})
        elif kind == "api":
            for _ in range(plan.parallelism):
                fleet.add(kind, 1, environment={"TOCSIN_PORT": str(free_port())})
        else:
            fleet.add(kind, plan.parallelism)
    try:
        fleet.start_all()
        yield fleet
    finally:
        fleet.end()


def _surges(live: Any) -> int:
    """How many surges are stored by now; 0 while Postgres is away."""
    try:
        return len({transition.id for transition in stored(live)})
    except StoreUnavailable:
        return 0


def _changed(deployment: BenchDeployment, deeds: Deeds) -> bool:
    """Whether every clock has come to the last definition."""
    return all(kept.turn > deeds.changes for kept in deployment.clocks().values())


def _ports(fleet: Fleet) -> list[str]:
    return [worker.environment["TOCSIN_PORT"] for worker in fleet.of("api")]


def _subscribe(deployment: BenchDeployment, live: Any, receiver: Receiver) -> None:
    assert deployment.settings.secret_key is not None
    keyring = Keyring(deployment.settings.secret_key)
    route = Route(stream="*", group="*", min_severity="info", states=("opened", "grew", "resolved"))
    with transaction(live) as connection:
        _, secret = subscriptions.add(
            connection, url=receiver.url("/bench"), wanted=route, keyring=keyring, now_us=now_us()
        )
    receiver.secrets["/bench"] = secret


def _drain(deployment: BenchDeployment, fleet: Fleet, live: Any, receiver: Receiver, say: Say) -> None:
    """Wait until every worker has come to the end, and every transition was delivered."""
    names = deployment.names
    until_s = time.monotonic() + DRAIN_S
    raw = [names.raw(n, s.name) for n, one in deployment.file.streams.items() for s in one.sources]
    stages = {
        "ingest": lambda: deployment.unread("ingest", raw),
        "score": lambda: deployment.unread("score", [names.signals]),
        "deliver": lambda: len(stored(live)) - len({r.webhook_id for r in receiver.received if r.verified}),
    }
    quiet_since_s, last, told = time.monotonic(), (-1, -1), ""
    while True:
        fleet.supervise()
        left = {name: _left(count) for name, count in stages.items()}
        open_stages = [f"{name} {count}" for name, count in left.items() if count > 0]
        if ", ".join(open_stages) != told:
            told = ", ".join(open_stages)
            say(f"  left: {told or 'what is on its way to the judges'}")
        now = (len(stored(live)), len(receiver.received))
        if now != last or open_stages:
            quiet_since_s, last = time.monotonic(), now
        # Tallies and verdicts on their way show in nothing but what comes of them.
        if time.monotonic() - quiet_since_s > 12:
            return
        if time.monotonic() > until_s:
            with suppress(OSError):  # what the broker deletes meanwhile
                shutil.copytree(deployment.folder / "kafka", fleet.folder / "kafka", dirs_exist_ok=True)
            raise TocsinError(
                f"after {DRAIN_S:g} s not all has come through: {', '.join(open_stages)}; logs and the broker's data "
                f"in {fleet.folder}"
            )
        time.sleep(0.5)


def _left(count: Callable[[], int]) -> int:
    try:
        return count()
    except TocsinError:
        return 1  # the broker is not back yet
