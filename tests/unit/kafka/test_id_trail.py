"""The trail of ids: how far back a restart reads."""

from __future__ import annotations

from pipeline.kafka.ingest_state import NO_IDS
from pipeline.kafka.seen_ids import IdTrail


def test_it_begins_with_the_slices_that_hold_the_last_ids() -> None:
    trail = IdTrail(10)
    assert trail.ids_from == NO_IDS
    for offset in range(7, 107):
        trail.add(offset, 4)
    assert trail.ids_from == 104  # three slices hold twelve


def test_a_definition_that_remembers_more_lets_it_go_back_further() -> None:
    trail = IdTrail(10)
    for offset in range(50):
        trail.add(offset, 4)
    trail.keep(100)
    for offset in range(50, 100):
        trail.add(offset, 4)
    assert trail.ids_from == 75


def test_a_slice_whose_place_is_not_known_yet_is_looked_for_from_the_start() -> None:
    trail = IdTrail(10)
    trail.expect(0)
    assert trail.ids_from == NO_IDS
    trail.expect(3)
    assert trail.ids_from == 0
    trail.add(7, 3)
    assert trail.ids_from == 7
