"""What this CPU multiplies itself: the flags that decide between engines and precisions."""

from __future__ import annotations

from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")

#: bf16 without AMX or AVX512-BF16 is emulated, and far slower than fp32.
BF16 = frozenset({"amx_bf16", "avx512_bf16"})

#: What makes products of 8-bit integers fast.
INT8 = frozenset({"amx_int8", "avx512_vnni", "avx_vnni"})


def flags(cpuinfo: Path = _CPUINFO) -> frozenset[str]:
    """Which of `BF16` and `INT8` this CPU has; none where the system does not say (no Linux, no x86)."""
    try:
        with cpuinfo.open(encoding="ascii", errors="replace") as file:
            line = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return frozenset()
    return (BF16 | INT8).intersection(line.split())


def has_bf16(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether this CPU multiplies bf16 itself."""
    return not BF16.isdisjoint(flags(cpuinfo))
