"""Training, on a base of three narrow layers and some invented texts: what it learns, and that it can be stopped."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from model import registry
from model.adapter import Adapter
from model.base import DEPTH, Base, find_base
from model.calibrate import Calibration
from model.data.example import Example
from model.engines.openvino_engine import OpenVinoEncoder
from model.head import Head
from model.tokenizing import TextTokenizer
from model.training.adaptation import Adapted, Start, adapt, means
from model.training.checkpoint import Checkpoint
from model.training.head_fit import HeadSettings, Labelled, train_head
from model.training.network import Method, Network
from model.training.parts import divided
from model.training.plan import Plan
from model.training.retraining import begun, forget, retrain
from model.training.tuning import Texts, Tuning, TuningSettings
from pipeline.cli.train import MOST_SEED
from pipeline.errors import ModelError

WIDTH, INNER, LAYERS = 32, 64, 3
SETTINGS = TuningSettings(epochs=3, steps=5, batch=16, checks=1, keep=0.0)

needs_peft = pytest.mark.skipif(
    importlib.util.find_spec("peft") is None, reason="peft is not installed: pip install 'tocsin[train]'"
)
METHODS = [pytest.param("lora", marks=needs_peft), "full", "head"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A BERT as narrow as it goes, of random weights, with the real word pieces."""
    folder, real = tmp_path_factory.mktemp("base"), find_base()
    (folder / "tokenizer.json").symlink_to(real.tokenizer)
    config = json.loads((real.folder / "config.json").read_text())
    changed = {"hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": 2}
    (folder / "config.json").write_text(json.dumps(config | changed))
    draw = np.random.default_rng(0)
    safetensors.numpy.save_file(
        {name: _random(name, shape, draw) for name, shape in _shapes(real).items()}, folder / "model.safetensors"
    )
    return find_base(folder)


def _shapes(real: Base) -> dict[str, list[int]]:
    narrow = {real.hidden: WIDTH, 4 * real.hidden: INNER}
    with safetensors.safe_open(real.weights, framework="np") as file:
        return {
            name: [narrow.get(size, size) for size in file.get_slice(name).get_shape()]
            for name in file.keys()  # noqa: SIM118
            if not name.startswith(("pooler.", "embeddings.position_ids"))
            and not any(f"layer.{number}." in name for number in range(LAYERS, real.layers))
        }


def _random(
    name: str, shape: list[int], draw: np.random.Generator
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    if "LayerNorm" in name:
        return np.full(shape, float(name.endswith("weight")), np.float32)
    return np.asarray(draw.normal(0, 0.2, shape), np.float32)


def _head(seed: int = 0) -> Head:
    draw = np.random.default_rng(seed)
    inputs = DEPTH * WIDTH
    return Head(
        draw.normal(0, inputs**-0.5, (inputs, 16)).astype(np.float32),
        np.zeros(16, np.float32),
        draw.normal(0, 0.25, 16).astype(np.float32),
        np.zeros((), np.float32),
    )


def _fitted(base: Base) -> Head:
    """A head that knows a little of it already: one that orders texts backwards cannot be calibrated."""
    texts, tokenizer = _texts(), TextTokenizer(base)
    encoder = OpenVinoEncoder(base, _start(base).weights, threads=1, precision="f32")
    found = means([text.text for text in texts], encoder, tokenizer)
    known = Labelled(found, np.array([text.target for text in texts], np.float32), np.ones(len(texts), np.float32))
    return train_head(known, known, HeadSettings(hidden=16, epochs=60, batch=32, dropout=0.0))[0]


def _start(base: Base) -> Start:
    return Start(base, Adapter().merged(safetensors.numpy.load_file(base.weights)), Adapter(), _head())


PLACES = ("harbour", "station", "market", "school", "bridge", "tower", "mill", "church")
THINGS = ("pump", "crane", "lamp", "clock", "gate", "lift", "bell", "wheel")


def _texts(source: str = "yours") -> list[Example]:
    """Whether a thing broke or was mended last is all that tells bad from fine: both words are in every text."""
    return [
        Example(f"{thing} at the {place} {first} and then {last}", float(last == "broken"), source, f"{thing} {place}")
        for place in PLACES
        for thing in THINGS
        for first, last in (("mended", "broken"), ("broken", "mended"))
    ]


def _adapted(
    base: Base,
    method: Method,
    settings: TuningSettings = SETTINGS,
    checkpoint: Checkpoint | None = None,
    **told: object,
) -> Adapted:
    texts = _texts()
    hook: Callable[[int, int, float], None] = told.get("told", lambda *_: None)  # type: ignore[assignment]
    return adapt(_start(base), texts[:96], texts[96:], {}, method, settings, hook, checkpoint)


def _same(one: Adapted, other: Adapted) -> bool:
    tensors, others = (dict(found.adapter.tensors()) for found in (one, other))
    return (
        tensors.keys() == others.keys()
        and all(np.array_equal(tensors[name], others[name]) for name in tensors)
        and np.array_equal(one.head.inner, other.head.inner)
        and np.array_equal(one.head.outer, other.head.outer)
        and one.calibration == other.calibration
    )


def _loss(base: Base, adapted: Adapted) -> float:
    """The cross-entropy of the stored classifier on the tuning part."""
    texts = _texts()[96:]
    weights = adapted.adapter.merged(safetensors.numpy.load_file(base.weights))
    encoder = OpenVinoEncoder(base, weights, threads=1, precision="f32")
    logits = adapted.head.logits(means([text.text for text in texts], encoder, TextTokenizer(base)))
    targets = np.array([text.target for text in texts])
    return float((np.logaddexp(0, logits) - targets * logits).mean())


@needs_peft
def test_low_rank_updates_learn_what_the_head_alone_cannot(base: Base) -> None:
    settings = replace(SETTINGS, epochs=3, steps=25, rate=1e-2, dropout=0.0)
    assert _loss(base, _adapted(base, "head", settings)) > 0.5
    assert _loss(base, _adapted(base, "lora", settings)) < 0.3


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(base: Base, method: Method) -> None:
    one, other = (_adapted(base, method) for _ in range(2))
    assert _same(one, other)
    assert not _same(one, _adapted(base, method, replace(SETTINGS, seed=1)))


def test_the_largest_seed_of_the_command_trains_each_member_of_the_largest_ensemble(base: Base) -> None:
    settings = replace(SETTINGS, epochs=1, augment=True, seed=MOST_SEED + 20)
    assert _adapted(base, "head", settings).curve[-1][0] == settings.steps


def test_labels_the_wrong_way_round_are_said_to_be(base: Base) -> None:
    wrong = [replace(example, target=1 - example.target) for example in _texts()]
    with pytest.raises(ModelError, match="Are bad and ok the right way round"):
        adapt(
            *(_start(base), _texts(), _texts(), {"yours": 1.0}, "head", SETTINGS, lambda *_: None),
            calibrating=wrong,
        )


class _StoppedByUser(Exception):
    pass


@pytest.mark.parametrize("method", METHODS[:2])
def test_a_training_that_comes_to_no_number_is_refused_and_not_kept(base: Base, tmp_path: Path, method: Method) -> None:
    checkpoint = Checkpoint(tmp_path / "never.safetensors", "key")
    with pytest.raises(ModelError, match=r"its loss after step 5 is (nan|inf); train with another --seed"):
        _adapted(base, method, replace(SETTINGS, rate=1e30), checkpoint)
    assert not list(tmp_path.iterdir())


def _until(step: int) -> Callable[[int, int, float], None]:
    def told(done: int, steps: int, loss: float) -> None:
        if done == step:
            raise _StoppedByUser

    return told


@pytest.mark.parametrize(
    ("method", "stop"), [pytest.param("lora", 7, marks=needs_peft), ("full", 5), ("head", 13), ("head", 3)]
)
def test_a_training_that_was_stopped_goes_on_to_the_same_weights(
    base: Base, tmp_path: Path, method: Method, stop: int
) -> None:
    settings = replace(SETTINGS, augment=True, adversary=0.05)
    checkpoint = Checkpoint(tmp_path / "stopped.safetensors", "key")
    with pytest.raises(_StoppedByUser):
        _adapted(base, method, settings, checkpoint, told=_until(stop))
    steps: list[int] = []
    resumed = _adapted(base, method, settings, checkpoint, told=lambda step, *_: steps.append(step))
    assert steps[0] == stop // 5 * 5 + 1
    assert _same(resumed, _adapted(base, method, settings))


def test_one_that_had_ended_is_read_back(base: Base, tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "ended.safetensors", "key")
    settings = replace(SETTINGS, patience=1, head_rate=10.0)  # a rate that makes it worse: it stops early
    steps: list[int] = []
    first = _adapted(base, "head", settings, checkpoint, told=lambda step, *_: steps.append(step))
    assert steps[-1] < settings.epochs * settings.steps
    assert _same(_adapted(base, "head", settings, checkpoint, told=_until(steps[-1] + 1)), first)


def test_the_learning_curve_has_every_check_also_after_a_stop(base: Base, tmp_path: Path) -> None:
    settings = replace(SETTINGS, head_rate=1.0)  # too much: the loss goes up and down
    whole = _adapted(base, "head", settings).curve
    path = tmp_path / "stopped.safetensors"
    with pytest.raises(_StoppedByUser):
        _adapted(base, "head", settings, Checkpoint(path, "key"), told=_until(11))
    assert _adapted(base, "head", settings, Checkpoint(path, "key")).curve == whole
    assert [step for step, _ in whole] == [0, 5, 10, 15]
    losses = [loss for _, loss in whole]
    assert losses != sorted(losses, reverse=True)


def test_another_training_does_not_go_on_there(base: Base, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    with pytest.raises(_StoppedByUser):
        _adapted(base, "head", SETTINGS, Checkpoint(path, "key"), told=_until(6))
    steps: list[int] = []
    _adapted(base, "head", SETTINGS, Checkpoint(path, "another"), told=lambda step, *_: steps.append(step))
    assert steps[0] == 1


@pytest.mark.parametrize(
    "content",
    [b"nothing", safetensors.numpy.save({"now.head": np.zeros(2, np.float32)})],
    ids=["no tensors", "no description"],
)
def test_a_damaged_checkpoint_says_what_to_do(base: Base, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="remove it to begin anew"):
        _adapted(base, "head", SETTINGS, Checkpoint(path, "key"))


@pytest.mark.parametrize("method", METHODS)
def test_what_is_stored_scores_as_the_network_did_that_was_tuned(base: Base, method: Method) -> None:
    start, texts = _start(base), _texts()
    tokenizer = TextTokenizer(base)
    network = Network(base, start.weights, start.head, method, dropout=0.3)
    known = Texts(
        [text.text for text in texts],
        np.array([text.target for text in texts], np.float32),
        np.ones(len(texts), np.float32),
        ["yours"] * len(texts),
        np.zeros((len(texts), WIDTH), np.float32),
    )
    tuning = Tuning(network, tokenizer, known, known, replace(SETTINGS, rate=5e-3))
    tuning.run({}, lambda *_: None)
    stored = network.adapter().merged(start.weights)
    encoder = OpenVinoEncoder(base, stored, threads=1, precision="f32")
    logits = network.head().logits(means(known.texts, encoder, tokenizer))
    assert np.abs(logits - tuning.logits(known.texts)).max() < 0.01
    untuned = _head().logits(means(known.texts, encoder, tokenizer))
    assert np.abs(logits - untuned).max() > 0.1


@needs_peft
@pytest.mark.parametrize("members", [0, 2])
def test_the_same_texts_and_plan_give_the_same_version(base: Base, tmp_path: Path, members: int) -> None:
    saved = registry.save(tmp_path / "start", _fitted(base), Calibration(1.0, 0.0), base=base.digest(), topics={})
    start, parts = registry.load(tmp_path / "start"), divided(_texts())
    plan = Plan(epochs=1, members=members)
    done: list[float] = []
    versions = [
        retrain(base, start, parts, plan, tmp_path / name, lambda now, total: done.append(now / total))
        for name in ("one", "other")
    ]
    assert versions[0] == versions[1] != saved
    assert done[-1] == 1.0
    assert done[: len(done) // 2] == sorted(done[: len(done) // 2])
    assert registry.load(tmp_path / "one").description.version == versions[0]
    assert begun(tmp_path / "one")
    forget(tmp_path / "one")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["model.json", "weights.safetensors"]


@needs_peft
def test_an_ensemble_that_was_stopped_goes_on_where_it_was(base: Base, tmp_path: Path) -> None:
    registry.save(tmp_path / "start", _fitted(base), Calibration(1.0, 0.0), base=base.digest(), topics={})
    start, parts = registry.load(tmp_path / "start"), divided(_texts())
    plan = Plan(epochs=1, members=2)

    def stopping(now: int, total: int) -> None:
        if now > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retrain(base, start, parts, plan, tmp_path / "stopped", stopping)
    done: list[float] = []
    version = retrain(base, start, parts, plan, tmp_path / "stopped", lambda now, total: done.append(now / total))
    assert done[0] > 1 / 3  # the first member was read back
    assert version == retrain(base, start, parts, plan, tmp_path / "whole", lambda *_: None)


def test_a_training_that_goes_on_says_from_where_and_one_that_begins_says_nothing(base: Base, tmp_path: Path) -> None:
    registry.save(tmp_path / "start", _fitted(base), Calibration(1.0, 0.0), base=base.digest(), topics={})
    start, parts = registry.load(tmp_path / "start"), divided(_texts())
    plan = Plan(method="head", epochs=2)
    said: list[str] = []

    def stopping(now: int, total: int) -> None:
        if now > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retrain(base, start, parts, plan, tmp_path / "made", stopping, said.append)
    assert said == []
    retrain(base, start, parts, plan, tmp_path / "made", lambda *_: None, said.append)
    (line,) = said
    found = re.fullmatch("training: goes on from step ([0-9]+) of ([0-9]+)", line)
    assert found is not None
    assert int(found[1]) * 2 == int(found[2])
