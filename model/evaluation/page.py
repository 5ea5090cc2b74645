"""The evaluation as a page: tables and plots in one HTML file that needs nothing else, no network and no script."""

from __future__ import annotations

import html
import io
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from model.evaluation.evaluate import Evaluation
from model.evaluation.figures import Bin, Figures
from pipeline.errors import ModelError, UsageError

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}th,td{padding:.25rem .7rem;border-bottom:1px solid #ddd;"
    "text-align:right}th:first-child,td:first-child{text-align:left}.plots{display:flex;flex-wrap:wrap;gap:1rem}"
    "td.bad{background:#fde8e4}"
)

_NO_PLOTS = "the page needs matplotlib: run `pip install 'tocsin[train]'`"

#: A slice whose accuracy is below this is marked: the reader should see first where it fails.
_FAILING = 0.75


def check(path: Path) -> None:
    """Raises UsageError where a page cannot be written to `path`, ModelError where nothing can draw it."""
    if path.is_dir():
        raise UsageError(f"--page: {path} is a folder; name a file in it")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--page: there is no folder {path.absolute().parent}")
    if find_spec("matplotlib") is None:
        raise ModelError(_NO_PLOTS)
    new = not path.exists()
    try:
        with path.open("ab"):
            pass
        if new:
            path.resolve().unlink()
    except OSError as error:
        raise UsageError(f"--page: {path} cannot be written to: {error.strerror}; name another file") from error


def page(evaluation: Evaluation, curve: Sequence[tuple[int, float]]) -> str:
    """One HTML page. `curve` holds (steps, loss on the tuning part) of the training. Raises ModelError."""
    parts = [
        f"<h1>Classifier {html.escape(evaluation.model)}</h1>",
        "<p>Figures on held-out texts: split by event, year, system or time, never by line. ECE: 15 bins of equal "
        "mass. <i>Left out</i>: trained without the whole source. In red: called wrongly more than once in four "
        "texts.</p>",
        "<h2>Sources</h2>",
        _table(_SOURCE_HEAD, _source_rows(evaluation)),
        "<h2>Where it fails</h2>",
        _table(_SLICE_HEAD, _slice_rows(evaluation.slices)),
        "<h2>Reliability</h2><p>A calibrated classifier lies on the diagonal: of the texts that it gives .8, eight in "
        "ten are bad.</p>",
        f'<div class="plots">{"".join(_diagram(name, bins) for name, bins in evaluation.reliability.items())}</div>',
    ]
    if curve:
        parts += ["<h2>Learning curve</h2>", _curve(curve)]
    body = "\n".join(parts)
    head = f'<meta charset="utf-8"><title>Evaluation</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en">{head}\n{body}\n'


_SOURCE_HEAD = ("source", "split", "texts", "bad", "", "accuracy", "F1", "AUROC", "ECE before", "ECE")
_SLICE_HEAD = ("slice", "texts", "bad", "accuracy", "F1", "AUROC", "ECE")


def _source_rows(evaluation: Evaluation) -> Iterable[Sequence[str]]:
    for name, source in evaluation.sources.items():
        kinds = {
            "tuned": source.tuned,
            "low rank, trained again": source.lora,
            "every weight": source.full,
            "left out": source.left_out,
            "words": source.tfidf,
            "untuned base": source.probe,
        }
        for number, (kind, found) in enumerate((kind, found) for kind, found in kinds.items() if found):
            first = (name, source.split, f"{found.texts:,}", _number(found.bad)) if not number else ("", "", "", "")
            yield (*first, kind, *_measures(found), _number(found.ece_before), _number(found.ece))


def _slice_rows(slices: dict[str, Figures]) -> Iterable[Sequence[str]]:
    for name, found in sorted(slices.items(), key=lambda item: item[1].accuracy):
        yield (name, f"{found.texts:,}", _number(found.bad), *_measures(found), _number(found.ece))


def _measures(found: Figures) -> tuple[str, str, str]:
    accuracy = _number(found.accuracy)
    return (accuracy if found.accuracy >= _FAILING else f"!{accuracy}", _number(found.f1), _number(found.auroc))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}".replace("0.", ".", 1)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def cell(text: str) -> str:
        return f'<td class="bad">{html.escape(text[1:])}' if text.startswith("!") else f"<td>{html.escape(text)}"

    lines = "\n".join("<tr>" + "".join(map(cell, row)) for row in rows)
    return f"<table><tr>{''.join(f'<th>{html.escape(name)}' for name in head)}\n{lines}</table>"


def _diagram(name: str, bins: Sequence[Bin]) -> str:
    return _plot(
        name,
        "probability",
        "share of bad",
        [([0, 1], [0, 1], "--"), ([b.probability for b in bins], [b.bad for b in bins], "o-")],
        size=3.2,
    )


def _curve(curve: Sequence[tuple[int, float]]) -> str:
    return _plot(
        "", "steps", "loss on the tuning part", [([s for s, _ in curve], [loss for _, loss in curve], "o-")], size=5
    )


def _plot(
    title: str, across: str, up: str, lines: Sequence[tuple[Sequence[float], Sequence[float], str]], size: float
) -> str:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ModelError(_NO_PLOTS) from error
    figure = Figure(figsize=(size, size * 0.9), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel=across, ylabel=up)
    for xs, ys, style in lines:
        axes.plot(xs, ys, style, color="#999" if style == "--" else "#b3402a", markersize=4)
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    svg = drawn.getvalue()
    return svg[svg.index("<svg") :]
