"""How the shipped classifier is made: which data, weight and split.
`python -m model.training.recipe DATA OUT [BASE]`.

Splits are by event (tweets), by year (outbreak reports), by system and time (logs), by headline (finance) and by
sentence (contrast): never by line. `tune` stops the training and calibrates; `test` is seen by nothing.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from model import registry
from model.adapter import Adapter
from model.base import Base, find_base
from model.data.contrast import contrast
from model.data.example import Example, Split, distinct, normalised, split_by_hash
from model.data.log_lines import bgl_first_day, bgl_templates, loghub
from model.data.public_sets import crisislex_t6, crisislex_t26, sentfin, who_don
from model.head import Floats
from model.topics import DEFAULT_TOPICS
from model.training.adaptation import Adapted, Start, adapt
from model.training.checkpoint import Checkpoint
from model.training.network import Method
from model.training.tuning import RATES, Told, TuningSettings

#: Groups that are never trained on: events and systems.
HELD_OUT = {
    "t6": {"2013_Oklahoma_Tornado"},
    "t26": {
        "2013_Glasgow_helicopter_crash",
        "2012_Costa_Rica_earthquake",
        "2013_Manila_floods",
        "2013_Spain_train_crash",
    },
    "logs": {"HPC", "Zookeeper"},
    "who": {"2013", "2014", "2015"},
}

#: The share of each source in the loss; within logs, bad and other lines weigh the same.
SHARES = {"sentfin": 0.25, "t6": 0.15, "t26": 0.1, "who": 0.04, "logs": 0.2, "contrast": 0.36}

#: Texts of a source that are trained on, and that stop and calibrate, at most: more of one source help no other.
MOST_TRAIN, MOST_TUNE = 9_000, 250

#: How the shipped classifier is tuned.
SETTINGS = TuningSettings(epochs=4, steps=100, checks=1)

#: Lines of BlueGene/L's first day from here on are for tests: the alert bursts begin after it.
BGL_TEST_FROM = "2005-06-04"


def examples(data: Path) -> list[Example]:
    """Everything that is trained or tested on, in a fixed order."""
    prose = [
        example for source in (sentfin, crisislex_t6, crisislex_t26, who_don) for example in distinct(source(data))
    ]
    return [*prose, *loghub(data), *bgl_templates(data, until=BGL_TEST_FROM), *contrast()]


def split(example: Example) -> Split:
    """The part of an example; see the module."""
    if example.group in HELD_OUT.get(example.source, ()):
        return "test"
    if example.source in HELD_OUT:
        return split_by_hash(example.origin or normalised(example.text), test=0)
    return split_by_hash(example.group, test=0.2 if example.source.startswith("contrast") else 0.15)


def weights(chosen: Sequence[Example]) -> Floats:
    """Weights of mean 1 by which each source has its share of the loss."""
    sources = np.array([example.source.split(":")[0] for example in chosen])
    bad = np.array([example.target > 0.5 for example in chosen])
    own = np.array([example.weight for example in chosen], np.float32)
    result = np.zeros(len(chosen), np.float32)
    for source, share in SHARES.items():
        mine = sources == source
        for part in (mine & bad, mine & ~bad) if source == "logs" else (mine,):
            if part.any():
                result[part] = share * (0.5 if source == "logs" else 1) * own[part] / own[part].sum()
    return np.asarray(result / result.mean(), np.float32)


def part(data: Path, wanted: Split, most: int, without: frozenset[str], seed: int) -> list[Example]:
    """A part of the data, at most so many texts of a source, with weights that give each source its share of the loss.
    `without` names sources, or one domain of the contrast sentences, that are left out whole."""
    by_source: dict[str, list[Example]] = {}
    for example in examples(data):
        source = example.source.partition(":")[0]
        if split(example) == wanted and source not in without and example.source not in without:
            by_source.setdefault(source, []).append(example)
    draw = np.random.default_rng(seed)
    chosen: list[Example] = []
    for found in by_source.values():
        rows = draw.permutation(len(found))[:most]
        chosen += [found[row] for row in np.sort(rows)]
    return [replace(example, weight=float(own)) for example, own in zip(chosen, weights(chosen), strict=True)]


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is learned, and how."""

    taught: list[Example]
    checked: list[Example]
    method: Method
    settings: TuningSettings

    def key(self) -> str:
        """Differs for another lesson."""
        said = msgspec.json.encode([self.taught, self.checked, self.method, self.settings])
        return hashlib.sha256(said).hexdigest()[:16]


def lesson(data: Path, *, method: Method = "lora", without: frozenset[str] = frozenset()) -> Lesson:
    """On the public sets in `data`, at the rate of the method. `without` as for `part`."""
    settings = replace(SETTINGS, rate=RATES[method])
    taught = part(data, "train", MOST_TRAIN, without, settings.seed)
    return Lesson(taught, part(data, "tune", MOST_TUNE, without, settings.seed), method, settings)


def train(base: Base, learned: Lesson, told: Told, checkpoint: Checkpoint | None = None) -> Adapted:
    """Train from the untuned base. The project's sentences do not calibrate: they are made to be hard, and would make
    probabilities timid on texts as they come."""
    start = Start(base, base.load(), Adapter(), None)
    calibrating = [example for example in learned.checked if not example.source.startswith("contrast")]
    return adapt(
        *(start, learned.taught, learned.checked, SHARES, learned.method, learned.settings, told),
        checkpoint=checkpoint,
        calibrating=calibrating,
    )


def bgl_test(data: Path) -> list[Example]:
    """The lines of BlueGene/L's first day that come after those of the training."""
    return [Example(text, float(bad), "bgl", "") for time, text, bad in bgl_first_day(data) if time >= BGL_TEST_FROM]


def main(data: Path, folder: Path, where: str | None = None) -> None:
    """Make the shipped classifier, or one like it on the base `where`, and save it."""
    base = find_base(where)

    def told(step: int, steps: int, loss: float) -> None:
        if step % 20 == 0:
            print(f"step {step} of {steps}, loss on the tuning part {loss:.4f}", file=sys.stderr, flush=True)

    made = train(base, lesson(data), told)
    version = registry.save(
        folder, made.head, made.calibration, base=base.digest(), topics=DEFAULT_TOPICS, adapter=made.adapter
    )
    print(version)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:4])
