"""An exported classifier gives, in a program without Tocsin, the scores that Tocsin gives."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model import registry
from model.adapter import Adapter
from model.base import find_base
from model.engines.choose import load_engine
from model.engines.encoder_engine import EncoderEngine
from model.engines.torch_engine import TorchEncoder
from model.export import FORMATS, Format, export
from pipeline.errors import ModelError


@pytest.mark.parametrize("engine", FORMATS)
def test_the_example_in_its_readme_runs_and_agrees(engine: Format, tmp_path: Path) -> None:
    """In a folder of its own, out of reach of the project's modules; with an adapter, which must be merged."""
    shipped, base = registry.load(), find_base()
    name = "encoder.layer.5.output.dense.weight"
    draw = np.random.default_rng(1)
    down, up = (draw.normal(0, 0.4, shape).astype(np.float16) for shape in ((4, 1536), (384, 4)))
    adapted = registry.StoredClassifier(shipped.description, shipped.head, Adapter({name: (down, up)}))
    export(adapted, base, engine, tmp_path / "out")

    page = (tmp_path / "out" / "README.md").read_text()
    program = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert program is not None
    assert adapted.description.version in page
    done = subprocess.run(
        [sys.executable, "-c", program[1]], cwd=tmp_path / "out", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    encoder = TorchEncoder(base, adapted.encoder_weights(base), threads=2, device="cpu")
    ours = EncoderEngine(encoder, base, adapted)
    texts = ["Bank posts a huge loss", "link restored on switch 4"]
    expected = [score.probability for score in ours.score(ours.encode(texts, "news"))]
    # Where the CPU multiplies bf16, OpenVINO does so unasked.
    tolerance = 0.02 if engine == "openvino" else 1e-4
    assert [float(word) for word in done.stdout.split()] == pytest.approx(expected, abs=tolerance)
    unadapted = load_engine("torch", threads=2)
    before = unadapted.score(unadapted.encode(texts, "news"))
    assert max(abs(score.probability - new) for score, new in zip(before, expected, strict=True)) > tolerance


def test_a_folder_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ModelError, match="is not empty: name a new folder"):
        export(registry.load(), find_base(), "onnxruntime", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("engine", FORMATS)
def test_an_export_that_finds_no_room_names_its_folder_and_leaves_it_as_it_was(engine: Format, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        for name in ("new", "empty"):
            with pytest.raises(ModelError, match=f"^{tmp_path / name} cannot be written: .*(too large|disk full)"):
                export(registry.load(), find_base(), engine, tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [*tmp_path.rglob("*")] == [tmp_path / "empty"]
