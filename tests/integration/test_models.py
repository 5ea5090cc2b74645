"""Versions of the classifier: what may be promoted, and how it comes to a machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import Run, commands
from sqlalchemy import Engine as Database
from sqlalchemy import delete, update
from versions import Named, another, load, promoted

from alerts import model_versions
from alerts.store import transaction
from alerts.tables import model_files
from model import registry
from model.measured import keep_evaluated, keep_training
from pipeline.errors import ModelError, NotFound
from pipeline.runtime.live_model import LiveModel
from pipeline.runtime.model_folder import ModelFolder


@pytest.fixture
def run(tmp_path: Path, database_url: str) -> Run:
    return commands(tmp_path, TOCSIN_DATABASE_URL=database_url)


def _listed(run: Run) -> dict[str, dict[str, Any]]:
    lines = run("models", "list", "--json").stdout.splitlines()
    return {one["version"]: one for one in map(json.loads, lines)}


def test_only_what_was_measured_is_promoted_and_the_shipped_one_comes_back(run: Run, tmp_path: Path) -> None:
    shipped = registry.load().description.version
    assert _listed(run)[shipped]["live"]
    version = another(tmp_path / "mine")
    assert b"nothing was measured" in run("promote", "mine", code=2).stderr
    keep_training(tmp_path / "mine", "another version", {"yours": {}})
    run("promote", "mine", code=2)
    keep_training(tmp_path / "mine", version, {"yours": {"after": {"f1": 0.9}}})
    promotion = run("promote", "mine")
    assert (promotion.stdout.decode().split(), promotion.stderr) == ([version], b"")
    found = _listed(run)
    assert [one for one in found if found[one]["live"]] == [version]
    assert found[version]["measured"]["training"]["yours"]["after"]["f1"] == 0.9
    shown = json.loads(run("models", "show").stdout)
    assert (shown["version"], shown["scale"]) == (version, 2.0)
    assert registry.load(tmp_path / "data" / "models" / version).description.version == version
    keep_training(tmp_path / "mine", version, {"yours": {"verdict": "worse"}})
    assert b"its training found it worse than the one it began with" in run("promote", "mine").stderr
    run("promote", shipped)
    found = _listed(run)
    assert [one for one in found if found[one]["live"]] == [shipped]


def test_another_machine_goes_back_to_a_version_that_was_promoted_elsewhere(
    run: Run, tmp_path: Path, database_url: str
) -> None:
    version = another(tmp_path / "mine")
    run("promote", "mine", "--without-evaluation")
    run("promote", registry.load().description.version)
    (tmp_path / "elsewhere").mkdir()
    elsewhere = commands(tmp_path / "elsewhere", TOCSIN_DATABASE_URL=database_url)
    assert json.loads(elsewhere("models", "show", version).stdout)["scale"] == 2.0
    elsewhere("promote", version, "--without-evaluation")
    assert _listed(run)[version]["live"]


def test_what_nobody_measured_is_promoted_when_asked_for(run: Run, tmp_path: Path) -> None:
    version = another(tmp_path / "mine")
    run("promote", "mine", "--without-evaluation")
    assert _listed(run)[version]["live"]


def test_what_is_neither_a_folder_nor_a_version_is_refused_before_a_database_is_asked(run: Run) -> None:
    for command in (("promote", "nothing-of-the-kind"), ("score", "--model", "nothing-of-the-kind")):
        assert b"nothing-of-the-kind is neither a folder nor a version" in run(*command, code=2).stderr
    said = run("promote", "0123456789ab", code=1).stderr
    assert b"version 0123456789ab of the classifier is neither in" in said


def test_texts_are_scored_with_a_version_or_the_live_one(run: Run, tmp_path: Path) -> None:
    shipped = registry.load().description.version
    (tmp_path / "texts").write_text('{"text": "Shares plunge after a profit warning"}\n')

    def scored(name: str) -> str:
        return str(json.loads(run("score", "texts", "--model", name).stdout)["model"])

    assert scored("live") == scored(shipped) == shipped
    version = another(tmp_path / "mine")
    run("promote", "mine", "--without-evaluation")
    assert scored("live") == scored(version) == scored("mine") == version
    assert scored(shipped) == shipped


def test_doctor_says_which_classifier_is_live_and_that_it_scores(run: Run, tmp_path: Path) -> None:
    def live() -> str:
        found = [json.loads(line) for line in run("doctor", "--json").stdout.splitlines()]
        return next(str(one["said"]) for one in found if one["what"] == "live")

    assert live() == "no classifier was promoted"
    version = another(tmp_path / "mine")
    run("promote", "mine", "--without-evaluation")
    assert f"version {version}; an earthquake scores " in live()


def test_a_folder_without_a_classifier_is_not_taken_for_a_version(run: Run, tmp_path: Path) -> None:
    (tmp_path / "unfinished" / ".training").mkdir(parents=True)
    said = run("promote", "unfinished", code=2).stderr
    assert said == b"tocsin: unfinished holds no classifier (no model.json in it)\n"


@pytest.fixture
def live(engine: Database, tmp_path: Path) -> LiveModel:
    return LiveModel(Named("shipped"), engine, ModelFolder(tmp_path / "models"), load)


def test_what_is_promoted_last_is_live(engine: Database, tmp_path: Path, live: LiveModel) -> None:
    live.look()
    assert live.engine.version == "shipped"
    for scale in (2.0, 3.0, 2.0):
        version = promoted(engine, tmp_path, scale)
        live.look()
        assert live.engine.version == version
    again = live.engine
    live.look()
    assert live.engine is again


def test_one_that_cannot_be_loaded_leaves_the_old_one(engine: Database, tmp_path: Path, live: LiveModel) -> None:
    version = promoted(engine, tmp_path, 2.0)
    with transaction(engine) as connection:
        connection.execute(delete(model_files))
    weights = tmp_path / "models" / version / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    with pytest.raises(ModelError, match="neither in"):
        live.look()
    assert live.engine.version == "shipped"
    weights.write_bytes(whole)
    live.look()
    assert live.engine.version == version


def test_a_damaged_copy_is_replaced_by_that_of_the_database(engine: Database, tmp_path: Path, live: LiveModel) -> None:
    version = promoted(engine, tmp_path, 2.0)
    (tmp_path / "models" / version / "weights.safetensors").write_bytes(b"")
    live.look()
    assert live.engine.version == version
    assert registry.load(tmp_path / "models" / version).description.version == version


def test_another_machine_gets_what_is_live_from_the_database(engine: Database, tmp_path: Path, live: LiveModel) -> None:
    version = promoted(engine, tmp_path / "elsewhere", 2.0)
    live.look()
    assert live.engine.version == version
    assert registry.load(tmp_path / "models" / version).description.version == version


def test_what_is_damaged_in_the_database_is_not_laid_down(engine: Database, tmp_path: Path, live: LiveModel) -> None:
    version = promoted(engine, tmp_path / "elsewhere", 2.0)
    another(tmp_path / "other", 3.0)
    whole = {name: (tmp_path / "elsewhere" / "models" / version / name).read_bytes() for name in registry.FILES}
    foreign = {name: (tmp_path / "other" / name).read_bytes() for name in registry.FILES}
    for files, why in (
        ({}, "neither in"),
        ({"model.json": whole["model.json"]}, "does not belong"),
        (foreign, "promote it again"),
    ):
        with transaction(engine) as connection:
            connection.execute(delete(model_files))
            if files:
                model_versions.keep_files(connection, version, files)
        with pytest.raises(ModelError, match=why):
            live.look()
        assert not list((tmp_path / "models").glob("*"))
    assert live.engine.version == "shipped"


def test_what_is_damaged_in_the_database_is_mended_by_promoting_it_again(
    run: Run, tmp_path: Path, engine: Database
) -> None:
    another(tmp_path / "mine")
    (version,) = run("promote", "mine", "--without-evaluation").stdout.decode().split()
    with transaction(engine) as connection:
        connection.execute(update(model_files).values(content=b"damaged"))
    run("promote", "mine", "--without-evaluation")
    with transaction(engine) as connection:
        kept = model_versions.files(connection, version)
    assert kept == {name: (tmp_path / "mine" / name).read_bytes() for name in registry.FILES}


def test_promoting_again_keeps_what_was_measured_before(run: Run, tmp_path: Path) -> None:
    version = another(tmp_path / "mine")
    keep_training(tmp_path / "mine", version, {"yours": {}})
    run("promote", "mine")
    (tmp_path / "mine" / "training.json").unlink()
    keep_evaluated(tmp_path / "mine", version, {"notes": {}})
    run("promote", "mine")
    assert set(_listed(run)[version]["measured"]) == {"training", "evaluated"}


def test_two_that_lay_down_one_version_at_once_leave_each_other_alone(tmp_path: Path) -> None:
    made, models = tmp_path / "made", tmp_path / "models"
    version = another(made)
    whole = {name: (made / name).read_bytes() for name in registry.FILES}

    class Meanwhile(dict[str, bytes]):
        def get(self, name: str, default: Any = None) -> Any:
            if name == registry.FILES[-1]:  # the first file lies there already
                with pytest.raises(ModelError):
                    ModelFolder(models).put(version, {})
            return super().get(name, default)

    ModelFolder(models).put(version, Meanwhile(whole))
    assert registry.load(models / version).description.version == version
    assert [path.name for path in models.iterdir()] == [version]
    assert (models / version).stat().st_mode == made.stat().st_mode


def test_a_version_that_does_not_exist_is_not_promoted(engine: Database) -> None:
    with pytest.raises(NotFound), transaction(engine) as connection:
        model_versions.promote(connection, "none", 1)
