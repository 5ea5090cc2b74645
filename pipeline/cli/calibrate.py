"""`tocsin calibrate`: probabilities that mean on your texts what they say."""

from __future__ import annotations

from pathlib import Path

import typer

from pipeline.cli.labelled import BAD_LABEL, DATA, GROUP_COLUMN, LABEL_COLUMN, TEXT_COLUMN, columns
from pipeline.cli.output import print_json, say, show
from pipeline.errors import UsageError

_HELP = """Set a classifier's probabilities right for your own labelled texts, without training it.

Fits scale and shift on half of the texts, and measures on the other half: of texts with probability .8, are eight in
ten bad? The order of texts stays as it was. Example:

\b
  tocsin calibrate --data mine.csv --out models/calibrated
  tocsin score --model models/calibrated < texts.jsonl
"""


def register(app: typer.Typer) -> None:
    app.command("calibrate", help=_HELP)(calibrate)


def calibrate(
    data: list[Path] = DATA,
    out: Path = typer.Option(..., file_okay=False, help="the folder that the classifier is written to"),
    model: Path | None = typer.Option(None, exists=True, file_okay=False, help="the classifier; else the shipped one"),
    text_column: str = TEXT_COLUMN,
    label_column: str = LABEL_COLUMN,
    group_column: str = GROUP_COLUMN,
    bad_label: list[str] | None = BAD_LABEL,
    as_json: bool = typer.Option(False, "--json", help="what was measured, as one JSON object"),
) -> None:
    from model import registry
    from model.base import find_base
    from model.data.labelled_file import labelled
    from model.measured import check_out, keep_training
    from model.training.comparison import compared
    from model.training.recalibration import halves, logits_of, recalibrated
    from pipeline.settings import load

    begin = model or registry.SHIPPED
    if out.resolve() == begin.resolve():
        raise UsageError(f"--out names the classifier itself, {begin}: write to another folder")
    base, classifier = find_base(load().base), registry.load(begin)
    fitted, held_out = halves(labelled(data, columns(text_column, label_column, group_column, bad_label), say))
    check_out(out)
    logits = logits_of(base, classifier, [*fitted, *held_out])
    calibration = recalibrated(logits[: len(fitted)], fitted)
    rest = logits[len(fitted) :]
    found = compared(held_out, classifier.calibration.probabilities(rest), calibration.probabilities(rest))
    description = classifier.description
    version = registry.save(
        out,
        classifier.head,
        calibration,
        base=description.base,
        topics=description.topics,
        adapter=classifier.adapter,
    )
    sizes = {"fit": len(fitted), "test": len(held_out)}
    measured = {"begun_with": description.version, "texts": sizes, "yours": found}
    keep_training(out, version, measured)
    if as_json:
        print_json({"version": version, "folder": str(out), **measured})
        return
    show(
        f"fitted on {len(fitted):,} texts; on {len(held_out):,} held-out ones ECE {found.before.ece:.3f} before, "
        f"{found.after.ece:.3f} after"
    )
    if found.after.ece >= found.before.ece:
        say(f"no better: keep the old one, or label more; version {version} is in {out} all the same")
    else:
        say(f"version {version} in {out}")
