"""The error tree: every class says what it means, since its docstring is its message."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest

from pipeline import errors
from pipeline.errors import BrokenItem, RangeGap, StateMismatch, TocsinError


def tree(root: type[TocsinError]) -> Iterator[type[TocsinError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


@pytest.mark.parametrize("kind", sorted(set(tree(TocsinError)), key=lambda kind: kind.__name__))
def test_every_error_has_a_docstring_of_its_own(kind: type[TocsinError]) -> None:
    assert "__doc__" in vars(kind)
    assert vars(kind)["__doc__"].strip()


def test_the_tree_stands_in_one_file() -> None:
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]
    assert all(issubclass(c, TocsinError) for c in classes)
    assert {c.__module__ for c in tree(TocsinError)} == {errors.__name__}


def test_an_error_without_a_message_says_its_docstring() -> None:
    assert str(StateMismatch()) == "A saved fold state does not belong to this fold."
    assert str(StateMismatch("this one")) == "this one"
    assert BrokenItem().reason == str(BrokenItem())


def test_what_a_caller_must_read_is_an_attribute() -> None:
    gap = RangeGap(partition="logs/push", expected=7, got=9)
    assert (gap.partition, gap.expected, gap.got) == ("logs/push", 7, 9)
    assert "expected the record at 7, got 9" in str(gap)
