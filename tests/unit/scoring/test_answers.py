"""Answers: one for each submission, in its place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from pipeline.scoring.answers import answers
from pipeline.scoring.engine import Score, Tokens
from pipeline.scoring.null_engine import NullEngine
from pipeline.scoring.scored import Scored, scored
from pipeline.scoring.submissions import of_text, refused
from pipeline.scoring.text_scores import TextScores


class Kinds(NullEngine):
    """The null engine, which remembers the kind of each text."""

    def __init__(self) -> None:
        self.kinds: dict[str, str] = {}

    def encode(self, texts: Sequence[str], kind: str) -> list[Tokens]:
        self.kinds |= dict.fromkeys(texts, kind)
        return super().encode(texts, kind)


def scores(engine: NullEngine | None = None) -> TextScores:
    return TextScores(engine or NullEngine(), cache_entries=100, batch_tokens=100)


def said(*results: object) -> list[dict[str, Any]]:
    return [json.loads(msgspec.json.encode(result)) for result in results]


def test_each_submission_has_its_answer_in_its_place() -> None:
    given = [
        of_text("bank fails", id=msgspec.Raw(b'"a"')),
        refused("line 2: not JSON"),
        of_text("", id=msgspec.Raw(b"7")),
    ]
    first, second, third = said(*answers(given, scores()))
    assert list(first) == ["id", "bad", "label", "topic", "model"]
    assert (first["id"], first["model"]) == ("a", "null-1")
    assert first["label"] == ("bad" if first["bad"] >= 0.5 else "ok")
    assert second == {"id": None, "error": "line 2: not JSON"}
    assert (third["id"], third["flags"]) == (7, ["empty"])


def test_a_missing_kind_is_found_and_one_that_is_said_is_believed() -> None:
    engine = Kinds()
    texts = [("ERROR disk 7 failed", ""), ("shares 7 fall", ""), ("outbreak 7 ends", "health"), ("link 7 down", "logs")]
    answers([of_text(text, kind=kind) for text, kind in texts], scores(engine))
    assert engine.kinds == {
        "ERROR disk <*> failed": "logs",
        "shares 7 fall": "news",
        "outbreak 7 ends": "health",
        "link <*> down": "logs",
    }


def test_an_explanation_is_there_only_when_it_is_asked_for() -> None:
    def why(text: str, kind: str) -> list[tuple[str, float]]:
        return [(f"{kind}:{text}", 0.25)]

    (plain,) = said(*answers([of_text("a b")], scores()))
    (explained,) = said(*answers([of_text("a b")], scores(), why=why))
    assert "why" not in plain
    assert explained["why"] == [{"word": "news:a b", "adds": 0.25}]


def test_a_model_that_is_named_elsewhere_is_left_out() -> None:
    (answer,) = said(*answers([of_text("a")], scores(), named=False))
    assert list(answer) == ["id", "bad", "label", "topic"]


@pytest.mark.parametrize(
    ("probability", "bad", "label"),
    [(0.5, 0.5, "bad"), (0.499994, 0.49999, "ok"), (0.499996, 0.5, "bad"), (1.0, 1.0, "bad"), (1e-9, 0.0, "ok")],
)
def test_a_label_agrees_with_the_number_beside_it(probability: float, bad: float, label: str) -> None:
    assert scored(Score(probability, "other"), "v") == Scored(bad, label, "other", "v", ())


def test_nothing_asks_nothing() -> None:
    assert answers([], scores()) == []
    assert said(*answers([refused("broken")], scores())) == [{"id": None, "error": "broken"}]
