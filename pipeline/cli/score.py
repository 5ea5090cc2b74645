"""`tocsin score`: texts in, scores out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipeline.cli.classifiers import NAMES, classifier_folder
from pipeline.cli.engines import ENGINE, EngineName
from pipeline.cli.output import say
from pipeline.errors import SourceError, UsageError

if TYPE_CHECKING:
    from pipeline.scoring.submissions import Submission
    from pipeline.sources.inflow import Inflow

    Parts = Iterator[list[Submission]]

#: Texts that are scored together: enough that those of like length share a forward pass.
CHUNK = 4096
#: The same where each is explained, which takes a row for each of its words.
EXPLAINED = 64

_HELP = """Score texts: how likely is each bad news for what it is about, and what is it about?

Reads JSON lines {"id", "text", "kind"} or a CSV table, from files or standard input, plain or gzip, of any size. Writes
a JSON line for each, in order: {"id", "bad", "label", "topic", "model"}. "id" and "kind" may be missing; a missing kind
is found from the text. A line that cannot be read gets {"id", "error"} in its place, and the exit code is 1 at the end.
Example:

\b
  echo '{"id": 1, "text": "Shares plunge after a profit warning"}' | tocsin score
  tocsin score headlines.csv --text-column title --id-column url > scores.jsonl
  tocsin score app.log --form line --kind logs --explain
  tocsin score --model live < texts.jsonl
"""


class _Form(Enum):
    """What the input holds, as the command line names it."""

    auto = "auto"
    json = "json"
    csv = "csv"
    line = "line"


class _Kind(Enum):
    """The kinds of text, as the command line names them."""

    news = "news"
    logs = "logs"
    health = "health"
    indicator = "indicator"


def register(app: typer.Typer) -> None:
    app.command("score", help=_HELP)(score)


def score(
    files: list[Path] = typer.Argument(None, help="JSON lines or CSV, plain or gzip; none, or -: standard input"),
    form: _Form = typer.Option(_Form.auto, help="what the input holds; line: each line is a text"),
    text_column: str = typer.Option("text", help="the column or field that holds the text"),
    id_column: str = typer.Option("id", help="the column or field that holds the id"),
    kind_column: str = typer.Option("kind", help="the column or field that holds the kind"),
    kind: _Kind | None = typer.Option(None, help="the kind of all texts, whatever they say"),
    explain: bool = typer.Option(False, "--explain", help='add "why": the words that move each score most; slow'),
    engine: EngineName | None = ENGINE,
    model: str | None = typer.Option(None, help=f"{NAMES}; else the configured or the shipped one"),
    streams: Path | None = typer.Option(
        None, exists=True, dir_okay=False, help="the stream file whose topics count; else the configured one"
    ),
) -> None:
    from pipeline.cli.score_work import ScoreWork
    from pipeline.scoring.submissions import Fields
    from pipeline.settings import load as load_settings
    from pipeline.sources.inflow import STDIN, Inflow
    from pipeline.sources.submitted import submitted

    if "" in (text_column, id_column, kind_column):
        raise UsageError("a column needs a name, for example --text-column message")
    if len({text_column, id_column, kind_column}) < 3:
        raise UsageError("text, id and kind must come from different columns")
    fields = Fields(text=text_column, id=id_column, kind=kind_column)
    read = partial(submitted, form=form.value, fields=fields, kind=kind.value if kind else "")
    paths = files or [STDIN]
    _check(paths, read)
    folder = None if model is None else classifier_folder(model)
    settings = load_settings(engine=engine and engine.value, model=folder, streams=streams)
    if STDIN in paths and os.isatty(0):
        say("reading JSON lines from the terminal; end with Ctrl-D")
    work = ScoreWork(settings, explain=explain)
    for path in paths:
        with Inflow(path) as inflow:
            where = f"{inflow.name}, " if len(paths) > 1 else ""
            any_texts = False
            for chunk in _chunks(_begun(read(inflow, where=where)), EXPLAINED if explain else CHUNK):
                work.score(chunk, inflow.part_read)
                any_texts = True
            if inflow.damage:
                work.damaged(f"{inflow.name}: {inflow.damage}; what could be unpacked was scored")
            elif not any_texts:
                say(f"no texts in {inflow.name}")
    work.finish()


def _check(paths: Sequence[Path], read: Callable[[Inflow], Parts]) -> None:
    """Look at the beginning of every file, before an hour of scoring ends at the second. Raises UsageError."""
    from pipeline.sources.inflow import STDIN, Inflow

    for path in paths:
        if path == STDIN:
            continue
        if not path.exists():
            raise UsageError(f"there is no file {path}")
        if path.is_dir():
            raise UsageError(f"{path} is a folder; name the files in it")
        if path.is_file():  # a pipe can be read once only
            with Inflow(path) as inflow:
                _begun(read(inflow))


def _begun(parts: Parts) -> Parts:
    """The same parts, when they can be read at all. Raises UsageError: the command named a wrong file or column."""
    try:
        first = next(parts)
    except SourceError as error:
        raise UsageError(str(error)) from None
    return chain([first], parts)


def _chunks(parts: Parts, most: int) -> Parts:
    """Submissions to score together: `most`, or all that came before the writer paused."""
    held: list[Submission] = []
    for part in parts:
        held += part
        while len(held) >= most:
            yield held[:most]
            del held[:most]
        if not part and held:
            yield held
            held = []
    if held:
        yield held
