"""What `--help` shows of a command: what it does, then lines that can be copied."""

from __future__ import annotations


def described(what: str, *examples: str) -> str:
    """A help text; the examples are not wrapped."""
    lines = "".join(f"\n  {line}" for line in examples)
    return f"{what}\n\nExample:\n\n\b{lines}\n"
