"""A classifier as a folder: what is refused, and what its version covers."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from model.adapter import Adapter, adapter_of
from model.calibrate import Calibration
from model.head import Head
from model.registry import load, save
from model.training.checkpoint import Checkpoint
from pipeline.errors import ModelError

TOPICS = {"weather": ["rain", "snow"]}
CALIBRATION = Calibration(scale=1.5, shift=-0.25)


def _head(seed: int = 0) -> Head:
    draw = np.random.default_rng(seed)
    return Head(*(draw.normal(size=shape).astype(np.float32) for shape in ((6, 4), (4,), (4,), ())))


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    version = save(tmp_path, _head(), CALIBRATION, base="b", topics=TOPICS)
    classifier = load(tmp_path)
    assert classifier.description.version == version
    assert classifier.calibration == CALIBRATION
    assert classifier.description.topics == TOPICS
    means = np.random.default_rng(1).normal(size=(5, 2, 3)).astype(np.float32)
    assert np.array_equal(classifier.head.logits(means), _head().logits(means))


def test_the_version_changes_with_weights_calibration_base_and_topics(tmp_path: Path) -> None:
    versions = {
        save(tmp_path, _head(), CALIBRATION, base="b", topics=TOPICS),
        save(tmp_path, _head(1), CALIBRATION, base="b", topics=TOPICS),
        save(tmp_path, _head(), Calibration(scale=1.5, shift=0), base="b", topics=TOPICS),
        save(tmp_path, _head(), CALIBRATION, base="c", topics=TOPICS),
        save(tmp_path, _head(), CALIBRATION, base="b", topics={}),
    }
    assert len(versions) == 5


def test_the_same_classifier_has_the_same_version(tmp_path: Path) -> None:
    first = save(tmp_path / "a", _head(), CALIBRATION, base="b", topics=TOPICS)
    assert save(tmp_path / "b", _head(), CALIBRATION, base="b", topics=TOPICS) == first


def test_added_topics_change_the_version_and_keep_the_others(tmp_path: Path) -> None:
    version = save(tmp_path, _head(), CALIBRATION, base="b", topics=TOPICS)
    changed = load(tmp_path).with_topics({"sport": ["football"]})
    assert changed.description.version != version
    assert changed.description.topics == {**TOPICS, "sport": ["football"]}
    assert load(tmp_path).with_topics({}).description.version == version


@pytest.mark.parametrize("place", [0, 100, -1])
def test_a_damaged_head_is_refused(tmp_path: Path, place: int) -> None:
    save(tmp_path, _head(), CALIBRATION, base="b", topics=TOPICS)
    data = bytearray((tmp_path / "weights.safetensors").read_bytes())
    data[place] ^= 1
    (tmp_path / "weights.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match="does not belong"):
        load(tmp_path)


def test_a_changed_description_is_refused(tmp_path: Path) -> None:
    save(tmp_path, _head(), CALIBRATION, base="b", topics=TOPICS)
    path = tmp_path / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "shift": 3.0}))
    with pytest.raises(ModelError, match="was changed"):
        load(tmp_path)


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"\xff\xfe",
        b'{"format": 3, "base": "\xff"}',
        b'{"format": 3, "x": ' + b"[" * 100_000,
        b"[]",
        b'{"format": 3}',
        b'{"weights": "http://x"}',
    ],
    ids=range(7),
)
def test_a_foreign_description_is_refused(tmp_path: Path, foreign: bytes) -> None:
    save(tmp_path, _head(), CALIBRATION, base="b", topics=TOPICS)
    (tmp_path / "model.json").write_bytes(foreign)
    with pytest.raises(ModelError, match="no description"):
        load(tmp_path)


def test_a_classifier_of_another_format_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text('{"format": 1, "head": "x"}')
    with pytest.raises(ModelError, match="has format 1; this program knows 3"):
        load(tmp_path)


def test_an_adapter_is_kept_and_changes_the_version(tmp_path: Path) -> None:
    draw = np.random.default_rng(2)
    down, up, whole = (draw.normal(size=shape).astype(np.float16) for shape in ((2, 6), (4, 2), (4,)))
    plain = save(tmp_path, _head(), CALIBRATION, base="b", topics=TOPICS)
    tuned = save(
        tmp_path, _head(), CALIBRATION, base="b", topics=TOPICS, adapter=Adapter({"a": (down, up)}, {"b": whole})
    )
    assert tuned != plain
    base = {"a": np.ones((4, 6), np.float32), "b": np.zeros(4, np.float32), "c": np.ones(2, np.float32)}
    merged = load(tmp_path).adapter.merged(base)
    assert np.allclose(merged["a"], 1 + up.astype(np.float32) @ down.astype(np.float32))
    assert np.array_equal(merged["b"], whole.astype(np.float32))
    assert np.array_equal(merged["c"], base["c"])


def test_an_adapter_that_fits_another_network_is_refused() -> None:
    adapter = Adapter({"a": (np.ones((2, 6), np.float16), np.ones((4, 2), np.float16))})
    for base in ({}, {"a": np.ones((4, 5), np.float32)}):
        with pytest.raises(ModelError, match="does not fit the base"):
            adapter.merged(base)


def test_half_an_update_is_refused() -> None:
    pair = {"a.down": np.ones((2, 6)), "a.up": np.ones((4, 2))}
    for broken in ({"a.down": pair["a.down"]}, {**pair, "a.up": np.ones((4, 3))}, {**pair, "b": np.ones(1)}):
        with pytest.raises(ModelError, match="damaged"):
            adapter_of(broken)


def test_a_missing_classifier_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no classifier in .*nowhere"):
        load(tmp_path / "nowhere")


def test_the_shipped_classifier_is_whole() -> None:
    assert load().head.inner.shape[0] == 3 * 384


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file can have more than 100 bytes, as on a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_disk")
def test_a_classifier_that_finds_no_room_leaves_nothing_behind_and_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"{tmp_path}/weights.safetensors cannot be written: File too large"):
        save(tmp_path, _head(), CALIBRATION, base="b", topics=TOPICS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small_disk")
def test_a_checkpoint_that_finds_no_room_leaves_nothing_behind_and_names_the_file(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.ones(9))
    optimizer = torch.optim.AdamW([weight])
    weight.sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    checkpoint = Checkpoint(tmp_path / "made" / "student.safetensors", "key")
    with pytest.raises(ModelError, match=r"made/student.safetensors cannot be written: .*File too large"):
        checkpoint.save(1, {"w": weight}, optimizer, {"w": torch.ones(9)}, 0.5, 0, [])
    assert list((tmp_path / "made").iterdir()) == []
