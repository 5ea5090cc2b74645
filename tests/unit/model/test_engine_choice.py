"""Which engine a machine gets, and how that is explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.engines import cpu
from model.engines.choose import Machine, Name, choose, options, this_machine
from pipeline.errors import ModelError

ALL: frozenset[Name] = frozenset({"openvino", "onnxruntime", "torch"})


def machine(flags: str = "", *, cuda: bool = False, installed: frozenset[Name] = ALL) -> Machine:
    return Machine(frozenset(flags.split()), cuda, installed)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("fpu amx_bf16 amx_int8 avx2", {"amx_bf16", "amx_int8"}),
        ("fpu avx512_bf16 avx512_vnni", {"avx512_bf16", "avx512_vnni"}),
        ("fpu avx_vnni", {"avx_vnni"}),
        ("fpu avx512f avx2", set()),
        ("", set()),
    ],
)
def test_flags_of_the_cpu_are_read(tmp_path: Path, line: str, found: set[str]) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {line}\n\nprocessor\t: 1\nflags\t\t: {line}\n")
    assert cpu.flags(tmp_path / "cpuinfo") == found
    assert cpu.has_bf16(tmp_path / "cpuinfo") is any("bf16" in flag for flag in found)


def test_a_system_that_says_nothing_of_its_cpu_has_no_flags(tmp_path: Path) -> None:
    assert cpu.flags(tmp_path / "missing") == frozenset()
    assert cpu.has_bf16(tmp_path / "missing") is False


@pytest.mark.parametrize(
    ("has", "name", "said"),
    [
        (machine("avx512_bf16 avx512_vnni"), "openvino", "no CUDA device; bf16 on the CPU (avx512_bf16)"),
        (machine("amx_bf16 amx_int8"), "openvino", "bf16 on the CPU (amx_bf16)"),
        # int8 would be faster there, and changes too many labels.
        (machine("avx512_vnni"), "openvino", "fp32 on the CPU"),
        (machine("avx_vnni"), "openvino", "fp32 on the CPU"),
        (machine(), "openvino", "fp32 on the CPU"),
        (machine("amx_bf16", cuda=True), "torch", "a CUDA device is there; bf16 on the CUDA device"),
        (machine("amx_bf16", installed=ALL - {"openvino"}), "torch", "no openvino installed; fp32 on the CPU"),
        (
            machine("avx_vnni", installed=frozenset({"onnxruntime"})),
            "onnxruntime",
            "no openvino or torch installed; int8 on the CPU (avx_vnni)",
        ),
    ],
)
def test_auto_takes_what_measured_best_for_the_machine_and_says_why(has: Machine, name: str, said: str) -> None:
    chosen, why = choose("auto", has)
    assert chosen == name
    assert why.startswith(f"{name}: ")
    assert said in why


def test_an_engine_that_is_asked_for_is_taken_on_any_machine() -> None:
    for name in ALL:
        assert choose(name, machine())[0] == name
    assert choose("onnxruntime", machine())[1] == (
        "onnxruntime: asked for; int8 on a CPU without instructions for it, which changes some 4 labels in 1,000"
    )
    assert choose("null", machine(installed=frozenset()))[0] == "null"


@pytest.mark.parametrize(("name", "cure"), [("onnxruntime", r"pip install 'tocsin\[onnx\]'"), ("auto", "openvino")])
def test_an_engine_that_is_not_installed_says_what_installs_it(name: str, cure: str) -> None:
    with pytest.raises(ModelError, match=cure):
        choose(name, machine(installed=frozenset()))


def test_an_unknown_engine_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match="choose auto, openvino, onnxruntime, torch or null"):
        choose("tpu")


def test_every_engine_says_how_it_would_run_or_why_it_cannot() -> None:
    said = options(machine("avx512_vnni", installed=ALL - {"onnxruntime"}))
    assert said == {
        "openvino": "fp32 on the CPU, which has neither AMX nor AVX512 bf16",
        "onnxruntime": "not installed (`pip install 'tocsin[onnx]'`)",
        "torch": "fp32 on the CPU",
    }


def test_this_machine_can_be_asked() -> None:
    assert choose("auto")[0] in this_machine().installed
