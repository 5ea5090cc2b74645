"""Where the base may lie: in the package, in a folder, in the cache of the Hugging Face hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import huggingface_hub.constants as hub
import pytest

from model import registry
from model.base import find_base
from model.classifier import Classifier
from pipeline.errors import ModelError
from pipeline.runtime.classifier import loader
from pipeline.runtime.model_folder import ModelFolder
from pipeline.settings import Settings

REVISION = "c" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, as its library lays it out, and no network."""
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--someone--a-base"
    shutil.copytree(find_base().folder, repository / "snapshots" / REVISION)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    return repository


def test_a_copy_in_a_folder_is_the_same_base(tmp_path: Path) -> None:
    shutil.copytree(find_base().folder, tmp_path / "copy")
    copy = find_base(str(tmp_path / "copy"))
    assert copy.folder == tmp_path / "copy"
    assert registry.load().encoder_weights(copy).keys() == find_base().load().keys()


@pytest.mark.parametrize("id", ["someone/a-base", f"someone/a-base@{REVISION}"])
def test_an_id_is_taken_from_the_cache_of_the_hub(cache: Path, id: str) -> None:
    assert find_base(id).digest() == find_base().digest()
    assert find_base(id).folder == cache / "snapshots" / REVISION


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("id", ["someone/another", "someone/a-base@v2"])
def test_an_id_that_is_not_there_is_said_with_what_to_do(id: str) -> None:
    with pytest.raises(ModelError, match=rf"the base {id} is no folder here.*name a folder, or fetch it"):
        find_base(id)


@pytest.mark.parametrize("where", ["nowhere", "a/b/c", "../x y", "a/b@"])
def test_neither_a_folder_nor_an_id_is_refused(where: str) -> None:
    with pytest.raises(ModelError, match="neither a folder nor the id"):
        find_base(where)


def test_a_base_that_the_classifier_was_not_trained_on_is_refused(tmp_path: Path) -> None:
    shutil.copytree(find_base().folder, tmp_path / "other")
    with (tmp_path / "other" / "tokenizer.json").open("a") as file:
        file.write("\n")
    with pytest.raises(ModelError, match="base"):
        registry.load().encoder_weights(find_base(tmp_path / "other"))


@pytest.mark.parametrize(
    ("name", "value"), [("num_attention_heads", 6), ("num_hidden_layers", 4), ("layer_norm_eps", 0.1)]
)
def test_the_same_weights_in_another_shape_are_another_base(tmp_path: Path, name: str, value: float) -> None:
    shutil.copytree(find_base().folder, tmp_path / "other")
    config = tmp_path / "other" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {name: value}))
    with pytest.raises(ModelError, match="base"):
        registry.load().encoder_weights(find_base(tmp_path / "other"))


def test_the_setting_names_the_base_of_every_classifier(tmp_path: Path) -> None:
    settings = Settings(base="nowhere")
    with pytest.raises(ModelError, match="nowhere is neither"):
        loader(settings, None)(None)
    with pytest.raises(ModelError, match="nowhere is neither"):
        ModelFolder(tmp_path).add(registry.SHIPPED, settings.base)
    with pytest.raises(ModelError, match="nowhere is neither"):
        Classifier.load(base="nowhere")
