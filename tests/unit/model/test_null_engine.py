"""The engine without a model: a pure, even hash of the text."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.scoring.null_engine import TOPICS, NullEngine

ANY_TEXT = st.text(st.characters(codec=None), max_size=40)


@example(["\ud800", ""], "logs")
@given(st.lists(ANY_TEXT, max_size=8), st.sampled_from(["news", "logs"]))
def test_a_score_depends_on_the_text_alone(texts: list[str], kind: str) -> None:
    engine = NullEngine()
    together = engine.score(engine.encode(texts, kind))
    alone = [NullEngine().score(NullEngine().encode([text], "health"))[0] for text in texts]
    assert together == alone
    assert all(0 <= score.probability < 1 and score.topic in TOPICS for score in together)


def test_scores_are_the_same_in_every_process() -> None:
    engine = NullEngine()
    score = engine.score(engine.encode(["the same text"], "news"))[0]
    assert score == (0.18798469354300218, "politics")


def test_scores_fill_the_unit_interval_evenly() -> None:
    engine = NullEngine()
    scores = engine.score(engine.encode([f"text {n}" for n in range(10_000)], "logs"))
    for tenth in range(10):
        share = sum(int(score.probability * 10) == tenth for score in scores) / len(scores)
        assert abs(share - 0.1) < 0.02
    assert {score.topic for score in scores} == set(TOPICS)


def test_it_imports_no_model() -> None:
    heavy = "{'torch', 'openvino', 'transformers', 'tokenizers', 'model'}"
    code = f"import sys, pipeline.scoring.null_engine; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
