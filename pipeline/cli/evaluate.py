"""`tocsin evaluate`: how good the classifier is, on texts that it has not seen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipeline.cli.help import described
from pipeline.cli.labelled import BAD_LABEL, LABEL_COLUMN, TEXT_COLUMN, columns
from pipeline.cli.output import print_json, say, show
from pipeline.cli.table import print_table
from pipeline.errors import ModelError, SourceError, UsageError

if TYPE_CHECKING:
    from model.evaluation.evaluate import Evaluation
    from model.evaluation.figures import Figures

_HELP = described(
    "How good the classifier is on texts that it has not seen: by source and by kind of text, beside words counted and "
    "the untuned base.\n\n"
    "On the public sets, where their folder is there: parts held out by event, year, system or time, never by line. "
    "What needs a training of its own (a source left out, full tuning) is what the last --retrain found; --retrain "
    "makes these trainings again, hours on two cores; stopped, it goes on where it was. With --data on your own "
    "labelled texts; give those that it was not trained on.",
    "tocsin evaluate",
    "tocsin evaluate --json --page evaluation.html",
    "tocsin evaluate --data mine.csv --text-column title --label-column label",
)

#: Where the public sets are beside a checkout.
_SETS = Path("../shared/data")


def register(app: typer.Typer) -> None:
    app.command("evaluate", help=_HELP)(evaluate)


def evaluate(
    sets: Path = typer.Option(_SETS, help="folder of the public sets"),
    data: list[Path] = typer.Option(
        [], exists=True, dir_okay=False, help="your own labelled texts instead: JSON lines or CSV, plain or gzip"
    ),
    text_column: str = TEXT_COLUMN,
    label_column: str = LABEL_COLUMN,
    bad_label: list[str] | None = BAD_LABEL,
    model: Path | None = typer.Option(
        None, exists=True, file_okay=False, help="folder of a classifier; else the configured or shipped one"
    ),
    retrain: bool = typer.Option(False, "--retrain", help="make every training behind the figures again"),
    page: Path | None = typer.Option(None, help="write a page with tables and plots here"),
    json: bool = typer.Option(False, "--json", help="one JSON object"),
) -> None:
    from model import registry
    from model.base import find_base
    from model.evaluation import trainings
    from model.evaluation.evaluate import evaluate as evaluated
    from model.evaluation.evaluate import evaluate_own
    from model.measured import keep_evaluated
    from pipeline.settings import load

    settings = load()
    folder = model or settings.model or registry.SHIPPED
    base, classifier = find_base(settings.base), registry.load(folder)
    shipped = folder.resolve() == registry.SHIPPED.resolve()
    if data:
        from model.data.labelled_file import labelled

        if retrain or page is not None or sets != _SETS:
            raise UsageError("--data measures on your own texts: --sets, --retrain and --page are of the public sets")

        found = evaluate_own(base, classifier, labelled(data, columns(text_column, label_column, "", bad_label), say))
        if json:
            print_json(found)
        else:
            _print(found)
        if not shipped:
            keep_evaluated(folder, classifier.description.version, found)
        return
    if not (sets / "news").is_dir():
        raise UsageError(
            f"{sets} holds no public sets: name their folder with --sets, or your own labelled texts with --data"
        )
    if page is not None:
        from model.evaluation.page import check

        check(page)
    if retrain and classifier.description.version != registry.load().description.version:
        raise UsageError(
            f"--retrain repeats the trainings of the shipped classifier, and {folder} holds another one: leave out "
            "--retrain or --model"
        )
    if retrain and not os.access(folder, os.W_OK):
        raise UsageError(
            f"--retrain keeps what it finds in {folder}, which cannot be written to: name a copy by --model"
        )
    recorded = trainings.recorded(folder, classifier)
    try:
        if retrain:
            recorded = trainings.repeat(base, classifier, folder, sets, say)
        result = evaluated(base, classifier, sets, recorded, say)
    except FileNotFoundError as error:
        raise SourceError(f"the public sets in {sets} are not whole: {error.filename} is missing") from error
    _show(result, as_json=json)
    if page is not None:
        from model.evaluation.page import page as drawn

        text = drawn(result, recorded.curve if recorded else [])
        try:
            page.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ModelError(f"the page cannot be written to {page}: {error.strerror}") from error
        say(f"written to {page}")
    if not shipped:
        tuned = {name: source.tuned for name, source in result.sources.items()}
        keep_evaluated(folder, classifier.description.version, tuned)


def _print(found: dict[str, Figures]) -> None:
    """F1 and AUROC say nothing where one class is missing: AUROC is null then."""
    rows = [
        (name, f"{f.texts:,}", f"{f.bad:.2f}", _three(f.accuracy))
        + (("-", "-") if f.auroc is None else (_three(f.f1), _three(f.auroc)))
        + (_three(f.ece),)
        for name, f in found.items()
    ]
    print_table(("your texts", "texts", "bad", "accuracy", "F1", "AUROC", "ECE"), rows)


def _three(figure: float) -> str:
    return f"{figure:.3f}"


def _show(result: Evaluation, *, as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    for name, source in result.sources.items():
        for kind in ("tuned", "lora", "full", "left_out", "tfidf", "probe"):
            one = getattr(source, kind)
            if one is not None:
                area = "      " if one.auroc is None else f"{one.auroc:.3f} "
                show(f"{name:9} {kind:9} accuracy {one.accuracy:.3f}  F1 {one.f1:.3f}  AUROC {area} ECE {one.ece:.3f}")
