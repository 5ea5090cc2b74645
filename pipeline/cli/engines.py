"""The option `--engine`."""

from __future__ import annotations

from enum import Enum

import typer


class EngineName(Enum):
    """What can run the classifier, as the command line names it."""

    auto = "auto"
    openvino = "openvino"
    onnxruntime = "onnxruntime"
    torch = "torch"
    null = "null"


ENGINE = typer.Option(None, "--engine", help="what runs the classifier; null is a hash: for tests only")
