"""The list of commands. Each module is one group of them; heavy imports happen inside a command, when it runs."""

from __future__ import annotations

import typer

from pipeline.cli import (
    alerts,
    archive,
    bench,
    calibrate,
    dead_letters,
    demo,
    doctor,
    evaluate,
    export,
    models,
    push,
    replay,
    run,
    score,
    status,
    streams,
    subscriptions,
    topics,
    train,
    up,
)


def register(app: typer.Typer) -> None:
    """Add every command to the application."""
    for module in (
        demo,
        up,
        run,
        topics,
        streams,
        push,
        replay,
        score,
        train,
        calibrate,
        evaluate,
        export,
        models,
        archive,
        status,
        subscriptions,
        alerts,
        dead_letters,
        doctor,
        bench,
    ):
        module.register(app)
