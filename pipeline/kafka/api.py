"""The push API of the Kafka runtime: `tocsin run api`, any number of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import structlog

from pipeline.clock import now_us
from pipeline.errors import JournalUnavailable, ModelError, StateMismatch, StoreUnavailable
from pipeline.kafka.classifier import Classifier
from pipeline.kafka.journal import journals_of, partitions_of
from pipeline.kafka.names import Names
from pipeline.kafka.push_keys import PushKeys
from pipeline.kafka.raw_writer import RawWriter
from pipeline.kafka.worker import Context
from pipeline.runtime.serving import listening
from pipeline.scoring.text_scores import TextScores
from pipeline.settings import check_push
from pipeline.sources.push import PushTarget, create_app
from pipeline.streams import Definition

log = structlog.get_logger()

#: Seconds that requests under way get when the process is told to stop; with those of the writer, less than ten.
FINISH_S = 5.0
#: Pushes that wait for one transaction or the next.
THREADS = 32


def run(context: Context) -> None:
    """Take pushes into the raw topics until told to stop; what was answered with 202 is committed.

    Texts for `POST /v1/score` are scored here as well, with the live classifier; it is loaded when the first comes.
    While Kafka is away, pushes are answered with 503 and /readyz says so; it comes back by itself. Raises
    ConfigurationError where a raw topic is missing or has another number of partitions than configured, or the API
    would be open to a network without a token; TocsinError where the port is taken.
    """
    settings, names = context.settings, context.names
    check_push(settings)
    with (
        RawWriter(settings, name="api", health=context.health, metrics=context.metrics) as writer,
        ExitStack() as loaded,
    ):
        app = create_app(
            _targets(context, writer),
            settings,
            clock=now_us,
            scores=lambda: _scores(context, loaded),
            states=lambda: context.health.states() or {"kafka": "has not answered yet"},
            registry=context.metrics.registry,
            threads=THREADS,
        )
        with listening(app, settings, finish_s=FINISH_S) as url:
            log.info("listening", url=url)
            unseen = {names.raw(stream.name, source.name) for stream in _streams(context) for source in stream.sources}
            while not context.stop.wait(0.2):
                if writer.error is not None:
                    raise writer.error
                unseen = {topic for topic in unseen if not _checked(writer, names, topic)}


def _scores(context: Context, loaded: ExitStack) -> TextScores:
    """The live classifier, followed until `loaded` is closed. Raises ModelError, then nothing of it is left."""
    settings = context.settings
    with ExitStack() as begun:
        classifier = Classifier(context, begun)
        try:
            classifier.follow()
        except (StoreUnavailable, StateMismatch) as error:
            raise ModelError(f"which classifier is live is not known: {error}") from error
        loaded.enter_context(begun.pop_all())
    return TextScores(
        classifier.now(),
        cache_entries=settings.cache_entries,
        batch_tokens=settings.batch_tokens,
        live=classifier.now,
    )


def _checked(writer: RawWriter, names: Names, topic: str) -> bool:
    """Whether a topic was seen, and is as configured. Raises ConfigurationError where it is not."""
    try:
        partitions_of(writer, names, topic)
    except JournalUnavailable:
        return False
    return True


def _targets(context: Context, writer: RawWriter) -> Mapping[str, PushTarget]:
    """Where the API writes to: each partition of a source's raw topic is a raw partition."""
    names, keys = context.names, PushKeys()
    targets = {}
    for stream in _streams(context):
        clocks = {
            source.name: journals_of(
                writer, names, names.raw(stream.name, source.name), names.raw_partitions, keys=keys,
                metrics=context.metrics,
            )
            for source in stream.sources
        }  # fmt: skip
        pushed = {source.name: clocks[source.name] for source in stream.sources if source.kind == "push"}
        targets[stream.name] = PushTarget(definition=stream, journals=pushed, clocks=clocks)
    return targets


def _streams(context: Context) -> list[Definition]:
    return list(context.file.streams.values())
