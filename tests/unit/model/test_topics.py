"""Topics by prototype."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from model.topics import DEFAULT_TOPICS, MARGIN, OTHER, Prototypes
from pipeline.errors import ModelError

PLACES = {"rain": (1, 0, 0), "snow": (0.8, 0.6, 0), "goal": (0, 0, 1)}


def _embed(phrases: list[str]) -> NDArray[np.float32]:
    return np.array([PLACES[phrase] for phrase in phrases], np.float32)


def _nearest(prototypes: Prototypes, *vector: float) -> str:
    return prototypes.nearest(np.array([vector], np.float32))[0]


def test_a_text_has_the_topic_whose_examples_are_nearest() -> None:
    prototypes = Prototypes({"weather": ["rain", "snow"], "sport": ["goal"]}, _embed)
    assert _nearest(prototypes, 0.9, 0.1, 0.4) == "weather"
    assert _nearest(prototypes, 0.3, 0.1, 0.9) == "sport"


def test_a_text_near_to_none_is_other() -> None:
    prototypes = Prototypes({"sport": ["goal"]}, _embed)
    just_below = MARGIN - 0.01
    assert _nearest(prototypes, (1 - just_below**2) ** 0.5, 0, just_below) == OTHER
    assert _nearest(prototypes, (1 - MARGIN**2) ** 0.5, 0, MARGIN + 0.01) == "sport"


def test_without_topics_every_text_is_other() -> None:
    assert _nearest(Prototypes({}, _embed), 1, 0, 0) == OTHER


@pytest.mark.parametrize("topics", [{"sport": []}, {"": ["goal"]}, {"sport": "goal"}])
def test_a_topic_without_phrases_is_refused(topics: dict[str, list[str]]) -> None:
    with pytest.raises(ModelError, match="example phrases"):
        Prototypes(topics, _embed)


def test_the_default_topics_are_the_documented_six() -> None:
    assert set(DEFAULT_TOPICS) == {
        "security", "finance", "public-health", "disasters", "infrastructure", "politics"
    }  # fmt: skip
