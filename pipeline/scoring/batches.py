"""Batches: which texts share a forward pass.

A batch is bounded by its padded size in tokens, not by its number of texts: thirty short log lines cost what one
long article does. Texts of like length stand together, so little of a batch is padding.
"""

from __future__ import annotations

from collections.abc import Sequence


def plan_batches(lengths: Sequence[int], *, budget: int, multiple: int = 16) -> list[list[int]]:
    """Cut texts with these token counts into batches; each is a list of indices into `lengths`.

    A batch's padded size is its number of texts times its longest length rounded up to `multiple`; it is at most
    `budget`, except for a single text that is longer. Every index appears once. The same lengths give the same
    batches.
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    batches: list[list[int]] = []
    current: list[int] = []
    for i in order:
        padded = -(-max(lengths[i], 1) // multiple) * multiple
        if current and (len(current) + 1) * padded > budget:
            batches.append(current)
            current = []
        current.append(i)
    if current:
        batches.append(current)
    return batches
