"""A person's texts in three parts."""

from __future__ import annotations

import pytest

from model.data.example import Example
from model.training.parts import divided
from pipeline.errors import SourceError


def _examples(number: int, group: str = "g{}") -> list[Example]:
    return [Example(f"text {i}", float(i % 2), "yours", group.format(i)) for i in range(number)]


def test_every_text_is_in_one_part_and_no_group_in_two() -> None:
    examples = [*_examples(300), *_examples(300)]
    parts = divided(examples)
    assert len(parts.train) + len(parts.tune) + len(parts.test) == 600
    groups = [{example.group for example in part} for part in (parts.train, parts.tune, parts.test)]
    assert sum(map(len, groups)) == len(set.union(*groups))


def test_more_texts_move_none_to_another_part() -> None:
    few, many = divided(_examples(200)), divided(_examples(400))
    assert set(few.test) <= set(many.test)
    assert set(few.tune) <= set(many.tune)
    assert set(few.train) <= set(many.train)


@pytest.mark.parametrize("number", [0, 1, 10])
def test_too_few_texts_are_refused_with_the_numbers(number: int) -> None:
    with pytest.raises(SourceError, match=f"of {number} different ones"):
        divided(_examples(number))


def test_too_few_of_one_class_are_refused() -> None:
    examples = [Example(f"text {i}", float(i < 3), "yours", f"g{i}") for i in range(500)]
    with pytest.raises(SourceError, match=r"3 bad, 497 ok.*Label more, of the rarer class"):
        divided(examples)


def test_groups_that_are_too_large_are_refused() -> None:
    with pytest.raises(SourceError, match=r"in 1 groups.*smaller groups"):
        divided(_examples(500, group="all"))
