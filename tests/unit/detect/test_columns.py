"""Columns: what is added, changed and left out is what a plain matrix would hold."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect.columns import Columns


@settings(max_examples=100)
@given(st.lists(st.one_of(st.integers(0, 40), st.lists(st.booleans(), min_size=1, max_size=9)), max_size=20))
def test_columns_hold_what_a_matrix_made_anew_each_time_would(steps: list[int | list[bool]]) -> None:
    columns, plain = Columns(np.zeros((3, 0))), np.zeros((3, 0))
    for number, step in enumerate(steps, start=1):
        if isinstance(step, int):
            new = np.arange(3.0 * step).reshape(3, step) + 1000 * number
            columns.append(new)
            plain = np.hstack((plain, new))
        else:
            kept = np.resize(np.array(step, np.bool_), plain.shape[1])
            columns.keep(kept)
            plain = plain[:, kept]
        columns.values[1] += 0.5
        plain[1] += 0.5
        assert np.array_equal(columns.values, plain)
        assert all(row.flags.c_contiguous for row in columns.values)


def test_adding_a_few_columns_to_many_seldom_moves_them() -> None:
    columns = Columns(np.zeros((2, 0)))
    columns.append(np.zeros((2, 8000)))
    moved = 0
    for _ in range(100):
        before = columns.values
        columns.append(np.ones((2, 10)))
        moved += not np.shares_memory(before, columns.values)
    assert moved <= 1
