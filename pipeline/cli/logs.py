"""Logging: structured events with stable names, on standard error."""

from __future__ import annotations

import logging
import sys

import structlog

from pipeline.cli.output import visible


def configure(*, level: int, as_json: bool) -> None:
    """Log from `level` on to standard error, for people or as JSON lines."""
    renderers: list[structlog.typing.Processor]
    if as_json:
        renderers = [structlog.processors.JSONRenderer()]  # escapes all that is not ASCII
    else:
        renderers = [_visible, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=24)]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")


def _visible(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Names of files and words of feeds must not act on a terminal; a traceback keeps its lines."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = "\n".join(map(visible, value.split("\n"))) if name == "exception" else visible(value)
    return event
