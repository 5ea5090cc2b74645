"""`tocsin doctor`: what it says about engines."""

from __future__ import annotations

from model.engines import cpu
from model.engines.choose import choose
from pipeline.cli import doctor


def test_it_names_the_flags_every_engine_and_the_one_that_auto_takes() -> None:
    said = doctor._engines()
    assert all(flag in said for flag in cpu.flags())
    assert all(f"{name}: " in said for name in ("openvino", "onnxruntime", "torch"))
    assert said.endswith(f"auto takes {choose('auto')[1]}")
