"""`tocsin export`: the classifier as files for other programs."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

import typer

from pipeline.cli.output import print_json, show

_HELP = """Write the classifier as files that other programs load without Tocsin.

onnxruntime: one ONNX file of standard operators, from token ids to a probability. openvino: OpenVINO's two files, the
same. torch: a folder that transformers loads, and the head. Each with its tokenizer and a README.md whose example
runs as it stands. Example:

\b
  tocsin export --engine onnxruntime exported
  tocsin export --engine openvino --model models/mine exported
"""


class Format(Enum):
    """For what it can be exported, by the names of the engines."""

    onnxruntime = "onnxruntime"
    openvino = "openvino"
    torch = "torch"


def register(app: typer.Typer) -> None:
    app.command("export", help=_HELP)(export)


def export(
    out: Path = typer.Argument(..., file_okay=False, help="the folder that is written; new, or empty"),
    engine: Format = typer.Option(..., help="what will run it"),
    model: Path | None = typer.Option(None, exists=True, file_okay=False, help="the classifier; else the shipped one"),
    as_json: bool = typer.Option(False, "--json", help="version and files, as one JSON object"),
) -> None:
    from model import registry
    from model.base import find_base
    from model.export import export as write
    from pipeline.settings import load

    classifier = registry.load(model)
    files = write(classifier, find_base(load().base), engine.value, out)
    version = classifier.description.version
    if as_json:
        print_json({"version": version, "engine": engine.value, "files": [str(path) for path in files]})
        return
    for path in files:
        show(f"{path.stat().st_size / 2**20:6.1f} MB  {path}")
    show(f"classifier {version}; how to use it is in {out / 'README.md'}")
