"""The Python API: light to import, and it scores lists of texts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from model import Classifier, Scored
from pipeline.errors import ModelError
from pipeline.scoring.null_engine import NullEngine


@pytest.fixture
def classifier() -> Classifier:
    return Classifier.load(engine="null")


def test_importing_it_loads_no_engine() -> None:
    code = (
        "import sys; from model import Classifier;"
        "sys.exit(bool({'torch', 'transformers', 'openvino', 'numpy', 'tokenizers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_each_text_has_its_result_in_order(classifier: Classifier) -> None:
    texts = [f"text {'x' * n}" for n in range(50)] * 100
    found = classifier.score(iter(texts))
    assert found == classifier.score(texts[:50]) * 100
    (one,) = classifier.score(["bank fails"])
    ((probability, topic),) = NullEngine().score(NullEngine().encode(["bank fails"], "news"))
    assert one == Scored(round(probability, 5), "bad" if probability >= 0.5 else "ok", topic, "null-1")
    assert classifier.score([]) == []


def test_lines_of_one_template_have_one_score(classifier: Classifier) -> None:
    lines = ["ERROR disk 1 failed", "ERROR disk 2 failed"]
    assert len(set(classifier.score(lines))) == 1
    assert len(set(classifier.score(lines, kind="news"))) == 2
    assert len(set(classifier.score(["disk 1 failed", "disk 2 failed"], kind="logs"))) == 1


def test_no_text_stops_it(classifier: Classifier) -> None:
    texts = ["", "\ud800", "\x00", "x" * 10_000_000, "😀"]
    assert all(0 <= one.bad <= 1 for one in classifier.score(texts))


def test_a_result_says_why_it_says_little(classifier: Classifier) -> None:
    texts = ["bank fails", "", "😀", "word " * 1000, "\ud800 attack"]
    found = [one.flags for one in classifier.score(texts, kind="news")]
    assert found == [(), ("empty",), ("no_words",), ("cut",), ("replaced",)]


def test_one_text_is_not_taken_for_a_list_of_letters(classifier: Classifier) -> None:
    with pytest.raises(TypeError, match=r"give a list: \[text\]"):
        classifier.score("bank fails")


def test_what_is_no_text_is_named_by_its_place(classifier: Classifier) -> None:
    with pytest.raises(TypeError, match=r"texts\[1\] is of type float"):
        classifier.score(["a", float("nan")])  # type: ignore[list-item]


def test_an_unknown_kind_is_refused(classifier: Classifier) -> None:
    with pytest.raises(ValueError, match="no kind 'tweet'; choose news, logs, health, indicator"):
        classifier.score(["a"], kind="tweet")  # type: ignore[arg-type]


@pytest.mark.parametrize("phrases", ["cup final", []])
def test_a_topic_that_is_no_list_of_phrases_is_refused(phrases: list[str]) -> None:
    with pytest.raises(ModelError, match="topic 'football' needs a name and a list of example phrases"):
        Classifier.load(topics={"football": phrases})


@pytest.mark.parametrize("threads", [0, -1])
def test_a_number_of_threads_that_is_none_is_refused(threads: int) -> None:
    with pytest.raises(ModelError, match=f"threads is {threads}; give 1 or more"):
        Classifier.load(engine="null", threads=threads)


def test_a_missing_folder_says_so(tmp_path: object) -> None:
    with pytest.raises(ModelError, match="no classifier in"):
        Classifier.load(f"{tmp_path}/missing")
