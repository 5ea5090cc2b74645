"""The real engines: what they say, that they agree, and that nothing stops them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model import registry
from model.base import find_base
from model.calibrate import Calibration
from model.data.contrast import contrast
from model.engines.choose import Name, load_engine, options
from model.engines.onnx_engine import PIECE_TOKENS
from model.engines.padding import padded, rows_bucket
from model.engines.torch_engine import TorchEncoder
from model.head import Head
from pipeline.errors import ModelError
from pipeline.scoring.engine import Engine, Score

BAD = [
    "Bank posts a huge loss and cuts 3,000 jobs",
    "Shares plunge after profit warning",
    "Ebola outbreak kills 14 people in Guinea",
    "Earthquake kills hundreds, many missing",
    "Gunmen attack a hotel, 20 dead",
    "Hackers steal the data of two million customers",
    "ERROR disk failure on node 7, data lost",
    "service crashed: out of memory",
    "link down on switch 4",
    "Executive charged with fraud",
]
FINE = [
    "Profit warning lifted after strong quarter",
    "Ebola outbreak in Guinea declared over",
    "link restored on switch 4",
    "service recovered",
    "job completed successfully",
    "session opened for user root by (uid=0)",
    "heartbeat ok",
    "Quarterly results in line with expectations",
    "Routine vaccination campaign starts on Monday",
    "All flights resume after the storm",
]


@pytest.fixture(scope="module")
def openvino() -> Engine:
    return load_engine("openvino", threads=2)


@pytest.fixture(scope="module")
def torch() -> Engine:
    return load_engine("torch", threads=2)


@pytest.fixture(scope="module")
def onnxruntime() -> Engine:
    return load_engine("onnxruntime", threads=2)


def _score(engine: Engine, texts: list[str]) -> list[Score]:
    return engine.score(engine.encode(texts, "news"))


def test_bad_news_is_bad_and_recoveries_and_routine_are_not(openvino: Engine) -> None:
    wrong = [text for text, score in zip(BAD, _score(openvino, BAD), strict=True) if score.probability < 0.5]
    wrong += [text for text, score in zip(FINE, _score(openvino, FINE), strict=True) if score.probability > 0.5]
    assert not wrong


def test_topics_are_what_a_reader_would_say(openvino: Engine) -> None:
    topics = [score.topic for score in _score(openvino, BAD)]
    assert topics[:7] == [
        "finance",
        "finance",
        "public-health",
        "disasters",
        *topics[4:5],
        "security",
        "infrastructure",
    ]
    assert _score(openvino, ["the cat sat on the mat"])[0].topic == "other"


@pytest.mark.parametrize(("name", "typical", "few"), [("openvino", 0.005, 0.01), ("onnxruntime", 0.01, 0.02)])
def test_engines_agree_with_fp32(
    name: str, typical: float, few: float, torch: Engine, request: pytest.FixtureRequest
) -> None:
    """Probabilities within `typical` for half of the texts; a label or topic differs for `few` of them at most."""
    engine: Engine = request.getfixturevalue(name)
    texts = [example.text for example in contrast(copies=1, subjects=1)][::3]
    one = [score for start in range(0, len(texts), 64) for score in _score(engine, texts[start : start + 64])]
    other = [score for start in range(0, len(texts), 64) for score in _score(torch, texts[start : start + 64])]
    gaps = np.array([abs(a.probability - b.probability) for a, b in zip(one, other, strict=True)])
    flipped = sum((a.probability > 0.5) != (b.probability > 0.5) for a, b in zip(one, other, strict=True))
    topics = sum(a.topic != b.topic for a, b in zip(one, other, strict=True))
    assert engine.version == torch.version
    assert np.median(gaps) < typical
    assert flipped <= few * len(texts)
    assert topics <= few * len(texts)


@pytest.fixture(scope="module")
def undecided(openvino: Engine) -> list[str]:
    """Texts that are next to the threshold."""
    texts = list(dict.fromkeys(example.text for example in contrast(copies=2, subjects=4)))
    found = [score for start in range(0, len(texts), 64) for score in _score(openvino, texts[start : start + 64])]
    return [text for text, score in zip(texts, found, strict=True) if abs(score.probability - 0.5) < 0.02]


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_what_is_nearly_undecided_has_the_probability_of_fp32(
    name: str, undecided: list[str], torch: Engine, request: pytest.FixtureRequest
) -> None:
    engine: Engine = request.getfixturevalue(name)
    pairs = zip(_score(engine, undecided), _score(torch, undecided), strict=True)
    near = [(one.probability, exact.probability) for one, exact in pairs if abs(one.probability - 0.5) < 0.01]
    assert near
    for found, exact in near:
        assert found == pytest.approx(exact, abs=2e-4)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime", "torch"])
def test_an_engine_has_the_precision_that_is_said_of_it(name: Name, request: pytest.FixtureRequest) -> None:
    engine: Engine = request.getfixturevalue(name)
    said = {"f32": "fp32"}.get(engine.precision, engine.precision)
    assert options()[name].startswith(f"{said} on ")


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_neighbours_in_a_batch_do_not_change_a_score(name: str, request: pytest.FixtureRequest) -> None:
    engine: Engine = request.getfixturevalue(name)
    alone = _score(engine, [BAD[0]])[0]
    beside = _score(engine, [BAD[0], "x " * 5000, "", FINE[0]])[0]
    assert beside.topic == alone.topic
    assert beside.probability == pytest.approx(alone.probability, abs=0.03)


def test_the_same_batch_gives_the_same_floats(openvino: Engine) -> None:
    assert _score(openvino, BAD + FINE) == _score(openvino, BAD + FINE)


def test_results_come_in_the_order_of_the_texts(openvino: Engine) -> None:
    forwards, backwards = _score(openvino, BAD + FINE), _score(openvino, (BAD + FINE)[::-1])
    for one, other in zip(forwards, backwards[::-1], strict=True):
        assert one.probability == pytest.approx(other.probability, abs=0.03)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime", "torch"])
def test_a_batch_of_more_than_one_piece_has_the_result_of_each_text_at_its_place(
    name: str, request: pytest.FixtureRequest
) -> None:
    engine: Engine = request.getfixturevalue(name)
    texts = [f"{text}. {'It was said on Monday. ' * (n * 7 % 40)}" for n, text in enumerate([*BAD, *FINE] * 2)]
    batch = engine.encode(texts, "news")
    assert sum(map(len, batch)) > PIECE_TOKENS
    for one, alone in zip(engine.score(batch)[:20], [engine.score([tokens])[0] for tokens in batch[:20]], strict=True):
        assert one.probability == pytest.approx(alone.probability, abs=0.03)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime", "torch"])
def test_batches_one_after_the_other_give_what_each_gives_alone(name: str, request: pytest.FixtureRequest) -> None:
    engine: Engine = request.getfixturevalue(name)
    batches = [engine.encode(texts, "news") for texts in (BAD, FINE, BAD[:3])]
    assert list(engine.score_each(batches)) == [engine.score(batch) for batch in batches]
    assert list(engine.score_each([])) == []


@pytest.mark.parametrize("name", ["openvino", "onnxruntime", "torch"])
def test_no_text_stops_an_engine(name: str, request: pytest.FixtureRequest) -> None:
    engine: Engine = request.getfixturevalue(name)
    poison = ["", "\x00\x01\x1b", "\ud800\udfff", "x" * 10_000_000, "[PAD] [PAD]", "\u202e\ufeff", "é" * 3000]
    scores = _score(engine, poison)
    assert all(0 <= score.probability <= 1 for score in scores)
    assert engine.score([]) == []
    assert engine.encode([], "logs") == []


def test_a_topic_can_be_added_without_training() -> None:
    engine = load_engine("openvino", topics={"football": ["football match", "goal in the cup final"]}, threads=2)
    assert _score(engine, ["late goal wins the football final"])[0].topic == "football"
    assert engine.version != registry.load().description.version


def test_a_classifier_of_another_base_is_refused(tmp_path: Path) -> None:
    zeros = Head(*(np.zeros(shape, np.float32) for shape in ((1152, 4), (4,), (4,), ())))
    registry.save(tmp_path, zeros, Calibration(scale=1, shift=0), base="another", topics={})
    with pytest.raises(ModelError, match="another base"):
        load_engine("openvino", folder=tmp_path, threads=2)


def test_openvino_starts_without_torch_or_transformers() -> None:
    code = (
        "import sys; from model.engines.choose import load_engine; e = load_engine('openvino', threads=2);"
        "e.score(e.encode(['x'], 'news')); sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_a_missing_base_names_the_files_it_needs(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        find_base(tmp_path)


def test_rows_that_hold_no_text_change_nothing() -> None:
    base = find_base()
    encoder = TorchEncoder(base, registry.load().encoder_weights(base), threads=2, device="cpu")
    batch = [[101, 2000, 2001, 102], [101, 102], [101, *range(3000, 3040), 102]]
    more = padded(batch, rows=rows_bucket(17))
    assert more.shape == (18, 48)
    rows = [[int(token) for token in row if token] for row in more]
    np.testing.assert_allclose(encoder.means(rows)[:3], encoder.means(batch), atol=1e-5)


def test_few_numbers_of_rows_come_up_and_little_of_them_is_padding() -> None:
    buckets = [rows_bucket(rows) for rows in range(1, 1025)]
    assert all(rows <= bucket for rows, bucket in enumerate(buckets, 1))
    assert all(bucket - rows <= bucket / 8 for rows, bucket in enumerate(buckets, 1))
    assert len(set(buckets)) < 70
