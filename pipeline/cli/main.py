"""The command line: `tocsin`.

Standard output is for what a program may read; progress, logs and errors go to standard error. Exit code 0: it
did what was asked; 1: it failed, one line says why and what to do; 2: it was called wrongly.
"""

from __future__ import annotations

import logging
import sys

import typer

from pipeline.cli import logs, standard_output
from pipeline.cli.output import say
from pipeline.errors import OutputFailed, TocsinError, UsageError

app = typer.Typer(
    name="tocsin",
    help="Wakes you when the news, the logs or the health reports turn bad: early, with the evidence, exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _all(
    context: typer.Context,
    verbose: bool = typer.Option(False, "--verbose", "-v", help="log every step on standard error"),
    log_json: bool = typer.Option(False, "--log-json", help="log as JSON lines"),
) -> None:
    if verbose:
        level = logging.DEBUG
    else:
        # Commands that run for months tell their story; the others tell what is wrong.
        level = logging.INFO if context.invoked_subcommand in ("up", "run", "archive") else logging.WARNING
    logs.configure(level=level, as_json=log_json)


def main() -> None:
    """The entry point: runs a command and turns errors into one line and an exit code."""
    from pipeline.cli import commands

    commands.register(app)
    standard_output.prepare()
    try:
        _check_text(sys.argv[1:])
        try:
            app(standalone_mode=True)
        finally:
            sys.stdout.flush()  # here, where it can still be said that it failed
    except OutputFailed as error:
        standard_output.give_up()
        say(f"tocsin: {error}")
        sys.exit(1)
    except UsageError as error:
        say(f"tocsin: {error}")
        sys.exit(2)
    except TocsinError as error:
        say(f"tocsin: {error}")
        sys.exit(1)
    except BrokenPipeError:
        standard_output.give_up()
        sys.stderr.close()  # the reader has had enough; nothing is left to say
        sys.exit(1)


def _check_text(arguments: list[str]) -> None:
    """Names and patterns go into records and the database, which hold UTF-8."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UsageError(f"the argument {argument} is not UTF-8; rename the file, or write it in UTF-8") from None
