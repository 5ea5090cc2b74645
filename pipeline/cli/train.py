"""`tocsin train`: a classifier for a person's own texts."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipeline.cli.labelled import BAD_LABEL, DATA, GROUP_COLUMN, LABEL_COLUMN, TEXT_COLUMN, columns
from pipeline.cli.output import print_json, say
from pipeline.cli.table import print_table
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from model.training.comparison import Comparison

_HELP = """Train the classifier on your own labelled texts, and say whether it got better.

Takes JSON lines {"text", "label"} or CSV; a label is bad or ok. A fifth of the texts is held out and judges both
classifiers, the one to begin with and the new one. Stop it at any time: the same command goes on where it was. The same
texts and seed give the same classifier. Example:

\b
  tocsin train --data mine.csv --out models/mine
  tocsin score --model models/mine < texts.jsonl
  tocsin train --data tickets.csv.gz --text-column body --label-column queue --bad-label outage --out models/tickets
"""


#: A step's own seed, a million times as large, must be less than 2**64: torch takes no other.
MOST_SEED = 10**13


class _Method(Enum):
    """What is trained, as the command line names it."""

    lora = "lora"
    full = "full"
    head = "head"


def register(app: typer.Typer) -> None:
    app.command("train", help=_HELP)(train)


def train(
    data: list[Path] = DATA,
    out: Path = typer.Option(..., file_okay=False, help="the folder that the classifier is written to"),
    model: Path | None = typer.Option(
        None, exists=True, file_okay=False, help="the classifier to begin with; else the shipped one"
    ),
    method: _Method = typer.Option(
        _Method.lora,
        help="what is trained: updates of low rank of every layer; every layer in full; the head alone",
    ),
    augment: bool = typer.Option(False, "--augment", help="change numbers and names, and leave out words, at random"),
    adversarial: bool = typer.Option(
        False, "--adversarial", help="train on each text as it would be hardest, too: twice the time"
    ),
    early_stopping: bool = typer.Option(False, "--early-stopping", help="stop when two epochs brought nothing"),
    ensemble: int = typer.Option(
        0, min=0, max=20, help="so many classifiers on folds of the texts teach one: one more times the time"
    ),
    epochs: int | None = typer.Option(None, min=1, max=100, help="how often each text is seen; else by their number"),
    seed: int = typer.Option(0, min=0, max=MOST_SEED, help="another seed, another beginning and order"),
    text_column: str = TEXT_COLUMN,
    label_column: str = LABEL_COLUMN,
    group_column: str = GROUP_COLUMN,
    bad_label: list[str] | None = BAD_LABEL,
    as_json: bool = typer.Option(False, "--json", help="what was measured, as one JSON object"),
) -> None:
    from model import registry
    from model.base import find_base
    from model.classifier import Classifier
    from model.data.labelled_file import labelled
    from model.measured import check_out, keep_training
    from model.training.comparison import compared, scored_by
    from model.training.parts import divided
    from model.training.plan import Plan
    from model.training.retraining import begun, forget, held_out_contrast, retrain
    from pipeline.cli.progress import Progress
    from pipeline.settings import load

    begin = model or registry.SHIPPED
    if out.resolve() == begin.resolve():
        raise UsageError(f"--out names the classifier to begin with, {begin}: write to another folder")
    if ensemble == 1:
        raise UsageError("--ensemble 1 is no ensemble: give 2 or more, or leave it out")
    read = columns(text_column, label_column, group_column, bad_label)
    start, where = registry.load(begin), load().base
    parts = divided(labelled(data, read, say))
    check_out(out)
    plan = Plan(
        method=method.value,
        augment=augment,
        adversarial=adversarial,
        early_stopping=early_stopping,
        members=ensemble,
        epochs=epochs,
        seed=seed,
    )
    sizes = {"train": len(parts.train), "tune": len(parts.tune), "test": len(parts.test)}
    judged = (parts.test, held_out_contrast())
    progress = Progress("training", "texts")
    known: list[int] = []  # what an earlier call has done says nothing of how long the rest takes

    def told(done: int, total: int) -> None:
        if not known:
            known.append(done)
            progress.begin()
            return
        progress.update(done - known[0], (done - known[0]) / (total - known[0]) if total > known[0] else None)

    try:
        say("texts: {train:,} to train on, {tune:,} to stop and calibrate, {test:,} held out".format(**sizes))
        old = Classifier.load(begin, base=where)
        before = [scored_by(old, examples) for examples in judged]
        version = retrain(find_base(where), start, parts, plan, out, told, say)
        progress.close()
        say("scoring what was held out")
        after = Classifier.load(out, base=where)
        yours, others = (
            compared(examples, then, scored_by(after, examples)) for examples, then in zip(judged, before, strict=True)
        )
        measured = {"begun_with": start.description.version, "texts": sizes, "yours": yours, "sentences": others}
        keep_training(out, version, measured)
        forget(out)
    except KeyboardInterrupt:
        progress.close()
        kept = f"what was learned is kept in {out}: the same command goes on there"
        say(f"stopped; {kept if begun(out) else 'nothing was learned yet'}")
        raise typer.Exit(1) from None
    if as_json:
        print_json({"version": version, "folder": str(out), **measured})
        return
    _print(yours, others)
    say(_said(yours, version, out))
    if others.verdict == "worse":
        say("it has become worse on other news, Tocsin's own sentences: use it for texts like yours alone")


def _print(yours: Comparison, others: Comparison) -> None:
    rows = [
        (of, when, f"{f.texts:,}", f"{f.bad:.2f}", *(_three(x) for x in (f.accuracy, f.f1, f.auroc, f.ece)))
        for of, comparison in (("your texts", yours), ("other news", others))
        for when, f in (("before", comparison.before), ("after", comparison.after))
    ]
    print_table(("held out", "", "texts", "bad", "accuracy", "F1", "AUROC", "ECE"), rows)


def _three(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.3f}"


def _said(yours: Comparison, version: str, out: Path) -> str:
    if yours.verdict == "better":
        return f"better on your texts: version {version} in {out}"
    what = "worse on your texts" if yours.verdict == "worse" else "no clear difference on your texts"
    return f"{what}: keep the old one, and label more; version {version} is in {out} all the same"
