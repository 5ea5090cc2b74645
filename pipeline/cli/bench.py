"""`tocsin bench`: how fast it is on this machine."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

import typer

from pipeline.cli.engines import EngineName
from pipeline.cli.output import print_json, say
from pipeline.errors import TocsinError, UsageError

app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)

_PIPELINE = """From raw items to committed surges: decode, mask, score, count, detect, store in Postgres.

Items of 200 bytes over 1,000 keys. In the local runtime from an NDJSON file that is made first. On Kafka from a raw
topic through one of each worker, with a broker that is started for it (KAFKA_HOME, or ../shared/kafka; needs Java);
beside it what a plain Faust app counts, and how long after the record that closes a tick its webhooks come; takes
some five minutes. Example:

\b
  tocsin bench pipeline --signals 200000 --engine null --json
  tocsin bench pipeline --runtime kafka --engine null --json
"""


class Runtime(StrEnum):
    """What runs the workers."""

    local = "local"
    kafka = "kafka"


_EXACT = """Whether Kafka's runtime is exact: two of each worker, killed, frozen and restarted while data flows.

Needs Apache Kafka (KAFKA_HOME, or ../shared/kafka) and Java. Compared are the stored surges with those of the local
runtime on the same raw log, and all counts with a plain count in dictionaries. Exit code 1 when anything differs.
Example:

\b
  tocsin bench exact --seed 7 --kills 12 --stops 4 --broker-kills 2 --json
"""


_SCORING = """How fast the classifier is beside the usual loop, and what that changes against fp32.

The usual loop is a Hugging Face pipeline: fp32, batches of 32, texts as they come. Both take turns on the same texts:
20,000 headlines, tweets, health reports and log lines from ../shared/data, or texts of your own. With --logs: log
lines through templates and a cold cache. Takes some five minutes on two cores. Example:

\b
  tocsin bench scoring --json
  tocsin bench scoring --logs --json
  tocsin bench scoring --texts mine.jsonl
"""


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="bench")


@app.callback()
def _bench() -> None:
    """A group, also while it has one member."""


@app.command(help=_PIPELINE)
def pipeline(
    runtime: Runtime = typer.Option(Runtime.local, help="one process, or workers on Kafka"),
    signals: int = typer.Option(0, min=0, help="items to run through; 0: 200,000, on Kafka 1,000,000"),
    keys: int = typer.Option(1000, min=1, help="distinct keys"),
    webhooks: int = typer.Option(1000, min=1, help="on Kafka: webhooks to measure the latency of"),
    engine: EngineName = typer.Option(
        EngineName.null, help="what runs the classifier; null is a hash: the classifier costs nothing"
    ),
    json: bool = typer.Option(False, "--json", help="one JSON object"),
) -> None:
    if engine is EngineName.null:
        say("engine null: scores are a hash of the text; this measures everything but the classifier")
    if runtime is Runtime.kafka and engine is not EngineName.null:
        raise typer.BadParameter(
            "on Kafka only with --engine null, for which its items are made", param_hint="--engine"
        )
    if runtime is Runtime.kafka:
        from pipeline.bench.on_kafka import bench_kafka

        result = bench_kafka(signals=signals or 1_000_000, keys=keys, webhooks=webhooks, say=say)
    else:
        from pipeline.bench.local import bench_local

        result = bench_local(signals=signals or 200_000, keys=keys, engine_name=engine.value)
    _print(result, json=json)


@app.command(help=_EXACT)
def exact(
    seed: int = typer.Option(7, help="what is fed, and what is killed when"),
    kills: int = typer.Option(12, min=0, help="workers killed (SIGKILL), each kind in turn"),
    stops: int = typer.Option(4, min=0, help="workers frozen (SIGSTOP) for longer than their group waits for them"),
    broker_kills: int = typer.Option(2, min=0, help="times that the broker is killed"),
    broker_away: float = typer.Option(0.0, min=0, help="seconds that a killed broker stays away; 0: a few"),
    postgres_kills: int = typer.Option(0, min=0, help="times that Postgres crashes"),
    redis_kills: int = typer.Option(0, min=0, help="times that the shared cache is killed"),
    changes: int = typer.Option(1, min=0, help="definitions that follow one another, each from a tick on"),
    joins: int = typer.Option(0, min=0, help="workers that join while data flows"),
    parallelism: int = typer.Option(2, min=1, max=8, help="workers of each kind"),
    rolling: bool = typer.Option(False, "--rolling", help="restart every worker in turn as well"),
    rate: float = typer.Option(500.0, min=1, help="items fed a second"),
    logs: Path | None = typer.Option(None, help="folder that keeps the workers' logs"),
    json: bool = typer.Option(False, "--json", help="one JSON object"),
) -> None:
    from pipeline.bench.exact import exact as is_exact
    from pipeline.bench.exact import run_exact
    from pipeline.bench.trouble import Plan

    plan = Plan(
        seed=seed,
        kills=kills,
        stops=stops,
        broker_kills=broker_kills,
        broker_away_s=broker_away,
        postgres_kills=postgres_kills,
        valkey_kills=redis_kills,
        joins=joins,
        changes=changes,
        parallelism=parallelism,
        rolling=rolling,
        rate=rate,
    )
    result = run_exact(plan, say, logs)
    _print(result, json=json)
    if not is_exact(result):
        raise TocsinError("the run was not exact; repeat it with --logs FOLDER and report it with its seed")


@app.command(help=_SCORING)
def scoring(
    logs: bool = typer.Option(False, "--logs", help="log lines, each once, through templates and a cold cache"),
    texts: Path | None = typer.Option(None, help='score these: JSON lines of {"text": "..."}'),
    json: bool = typer.Option(False, "--json", help="one JSON object"),
) -> None:
    from pipeline.bench.scoring import bench_scoring
    from pipeline.bench.scoring_logs import bench_log_scoring
    from pipeline.settings import load

    settings = load()
    if settings.engine == "null":
        raise UsageError("engine null scores by a hash: unset TOCSIN_ENGINE to measure the classifier")
    _print((bench_log_scoring if logs else bench_scoring)(settings, texts, say), json=json)


def _print(result: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(result)
    else:
        for name, value in result.items():
            print(f"{name:20} {value}")
