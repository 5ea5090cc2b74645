"""A person's labelled texts in three parts: to train on, to stop and calibrate on, and held out.

A text goes where its group's hash says: labelling more texts moves none from the held-out part into training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from model.data.example import Example, Split, split_by_hash
from pipeline.errors import SourceError

TUNE, TEST = 0.15, 0.2

#: Texts of each class that a part has at the least.
LEAST: dict[Split, int] = {"train": 5, "tune": 3, "test": 3}


@dataclass(frozen=True, slots=True)
class Parts:
    """See the module. No group is in two of them."""

    train: list[Example]
    tune: list[Example]
    test: list[Example]


def divided(examples: Sequence[Example]) -> Parts:
    """The parts of some texts. Raises SourceError when one of them holds too few of a class to say anything."""
    parts: dict[Split, list[Example]] = {name: [] for name in get_args(Split)}
    for example in examples:
        parts[split_by_hash(example.group, tune=TUNE, test=TEST)].append(example)
    for name, least in LEAST.items():
        bad = sum(example.target > 0.5 for example in parts[name])
        fine = len(parts[name]) - bad
        if min(bad, fine) < least:
            raise SourceError(_too_few(examples, name, bad, fine))
    return Parts(**parts)


def _too_few(examples: Sequence[Example], part: Split, bad: int, fine: int) -> str:
    where = {"train": "trains", "tune": "stops and calibrates the training", "test": "is held out"}[part]
    groups = len({example.group for example in examples})
    all_bad = sum(example.target > 0.5 for example in examples)
    return (
        f"too few texts: of {len(examples):,} different ones ({all_bad:,} bad, {len(examples) - all_bad:,} ok) in "
        f"{groups:,} groups, the part that {where} has {bad} bad and {fine} ok, and needs {LEAST[part]} of each. "
        f"Label more, of the rarer class most of all (30 of each are mostly enough), or take smaller groups"
    )
