"""Evidence: what is saved is what comes back, however large a count is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.detect.evidence import Evidence


def evidence(*counts: int) -> Evidence:
    made = Evidence()
    made.add_keys(2)
    for tick, count in enumerate(counts):
        total = np.array([count, 1])
        made.record(tick, total // 2, total, total / 3)
    made.add_keys(1)  # one without a past
    return made


@pytest.mark.parametrize("most", [0, 1, 127, 128, 2**15 - 1, 2**15, 2**31 - 1, 2**31, 2**62])
def test_counts_of_any_size_come_back_as_they_were(most: int) -> None:
    made = evidence(3, most, 5)
    again = Evidence.from_state(made.to_state())
    assert [again.series(key) for key in range(3)] == [made.series(key) for key in range(3)]
    assert again.series(0)[1][:3] == (1, most // 2, most)
    assert again.series(2) == []
    assert again.to_state() == made.to_state()


def test_small_counts_are_saved_in_a_byte_each() -> None:
    def size(state: list[Any]) -> int:
        return sum(len(part) for part in state if isinstance(part, bytes))

    assert size(evidence(100, 127).to_state()) == 3 * 24 * (1 + 1 + 8)
    assert size(evidence(100, 300).to_state()) == 3 * 24 * (2 + 2 + 8)


def test_evidence_of_no_key_comes_back() -> None:
    assert Evidence.from_state(Evidence().to_state()).keys == 0
