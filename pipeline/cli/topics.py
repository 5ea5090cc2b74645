"""`tocsin topics`: the Kafka topics of this deployment, made and checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipeline.cli.help import described
from pipeline.cli.output import print_json, say, show
from pipeline.errors import TocsinError

if TYPE_CHECKING:
    from pipeline.kafka.topic_admin import TopicAdmin

app = typer.Typer(help="The Kafka topics of this deployment: make and check them.", no_args_is_help=True)

_CREATE = described(
    "Make the topics that are missing, then check all. What is there is never changed; it may run at any time.",
    "tocsin topics create",
)
_CHECK = described(
    "Compare partitions, replicas and configuration of every topic with what the settings want; nothing is changed. "
    "Exit code 1 when something differs.",
    "tocsin topics check --json",
)


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="topics")


@app.command(help=_CREATE)
def create(
    streams: Path | None = typer.Option(None, "--streams", metavar="FILE", help="the stream file"),
    json: bool = typer.Option(False, "--json", help="one JSON object for each topic, one a line"),
) -> None:
    admin = _admin(streams)
    _report(admin, made=set(admin.create()), json=json)


@app.command(help=_CHECK)
def check(
    streams: Path | None = typer.Option(None, "--streams", metavar="FILE", help="the stream file"),
    json: bool = typer.Option(False, "--json", help="one JSON object for each topic, one a line"),
) -> None:
    _report(_admin(streams), made=set(), json=json)


def _admin(streams: Path | None) -> TopicAdmin:
    from pipeline.kafka.topic_admin import TopicAdmin
    from pipeline.settings import load
    from pipeline.stream_file import load as load_streams

    settings = load(streams=streams)
    return TopicAdmin(settings, load_streams(settings.streams).streams.values())


def _report(admin: TopicAdmin, *, made: set[str], json: bool) -> None:
    """Say what each topic is like. Raises TocsinError when one is not as it must be."""
    differing = admin.check()
    for topic in admin.topics:
        found = differing[topic.name]
        if json:
            print_json(
                {
                    "topic": topic.name,
                    "partitions": topic.partitions,
                    "made": topic.name in made,
                    "ok": not found,
                    "differences": [{"what": d.what, "advice": d.advice} for d in found],
                }
            )
            continue
        for difference in found:
            show(f"BAD  {difference}")
        if not found:
            show(f"ok   {topic.name}: {_partitions(topic.partitions)}{', made' if topic.name in made else ''}")
    wrong = sum(1 for found in differing.values() if found)
    if wrong:
        raise TocsinError(f"{wrong} of {len(differing)} topics are not as they must be; what to do stands with each")
    say(f"all {len(differing)} topics are as they must be")


def _partitions(number: int) -> str:
    return f"{number} partition{'' if number == 1 else 's'}"
