"""What is held out, and that nothing of it is trained on: on invented sets, and on the public ones where they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from invented_sets import BURST, invent

from model.data.example import Example, normalised
from model.evaluation.evaluate import held_out
from model.training import recipe
from pipeline.scoring.template import scored_texts

DATA = Path(__file__).parents[3].parent / "shared" / "data"


@dataclass(frozen=True)
class Divided:
    """`learned` is all that a training may draw, and what one draws: what stops and calibrates it too."""

    everything: list[Example]
    learned: list[Example]
    held: dict[str, list[Example]]


@pytest.fixture(scope="module", params=["invented", "public"])
def divided(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Divided:
    data = DATA
    if request.param == "invented":
        data = tmp_path_factory.mktemp("sets")
        invent(data)
    elif not DATA.is_dir():
        pytest.skip("the public data sets are not on this machine")
    everything = recipe.examples(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "examples", lambda _: everything)  # reading them takes seconds
        lesson = recipe.lesson(data)
        parts = [recipe.part(data, name, len(everything), frozenset(), seed=0) for name in ("train", "tune")]
    return Divided(everything, [*parts[0], *parts[1], *lesson.taught, *lesson.checked], held_out(data, everything))


@pytest.mark.parametrize(
    ("source", "groups"),
    [
        ("t6", {"2013_Oklahoma_Tornado"}),
        (
            "t26",
            {
                "2012_Costa_Rica_earthquake",
                "2013_Glasgow_helicopter_crash",
                "2013_Manila_floods",
                "2013_Spain_train_crash",
            },
        ),
        ("who", {"2013", "2014", "2015"}),
        ("logs", {"HPC", "Zookeeper"}),
    ],
)
def test_whole_events_years_and_systems_are_held_out(divided: Divided, source: str, groups: set[str]) -> None:
    assert {example.group for example in divided.held[source]} == groups
    learned = {example.group for example in divided.learned if example.source == source}
    assert learned == {example.group for example in divided.everything if example.source == source} - groups
    assert learned


def test_no_text_that_is_held_out_was_learned_from(divided: Divided) -> None:
    texts = {normalised(example.text) for example in divided.learned}
    groups = {(example.source, example.group) for example in divided.learned}
    # Most calm lines of BlueGene/L's day have a template that came before: it is cut by time, see below.
    held = {name: part for name, part in divided.held.items() if name != "bgl"}
    assert held.keys() == {"sentfin", "t6", "t26", "who", "logs", "contrast"}
    for name, part in held.items():
        assert {example.source.partition(":")[0] for example in part} == {name}
        assert not texts & {normalised(example.text) for example in part}
        assert not groups & {(example.source, example.group) for example in part}


def test_the_alert_that_opens_the_bursts_after_midnight_is_held_out(divided: Divided) -> None:
    assert any(BURST in example.text and example.target == 1 for example in divided.held["bgl"])
    assert not any(BURST in example.text for example in divided.everything)


def test_what_came_before_midnight_of_the_bgl_day_is_trained_on_and_not_tested_on(tmp_path: Path) -> None:
    invent(tmp_path)
    assert "ciod started" in {example.text for example in recipe.examples(tmp_path)}
    assert len(held_out(tmp_path, [])["bgl"]) == 60  # twenty times three lines since midnight


def test_forms_of_one_text_are_in_one_part(divided: Divided) -> None:
    parts: dict[tuple[str, str], set[str]] = {}
    for example in divided.everything:
        if example.origin:
            parts.setdefault((example.group, example.origin), set()).add(recipe.split(example))
    assert max(map(len, parts.values())) == 1
    assert {part for found in parts.values() for part in found} == {"train", "tune", "test"}


def test_each_message_of_a_log_is_tried_once_and_as_it_is_scored(divided: Divided) -> None:
    lines = divided.held["logs"]
    origins = {e.origin for e in divided.everything if e.source == "logs" and recipe.split(e) == "test"}
    assert [e.origin for e in lines] == list(dict.fromkeys(e.origin for e in lines))
    assert {e.origin for e in lines} == origins
    for example in [*lines, *divided.held["bgl"]]:
        assert scored_texts("logs", [example.text]) == [example.text]
