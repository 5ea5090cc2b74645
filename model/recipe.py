"""How the shipped classifier is made: which data, with which weight, split how. `python -m model.recipe DATA OUT`.

Splits are by event (tweets), by year (outbreak reports), by system and time (logs), by headline (finance) and by
sentence (contrast): never by line. `tune` stops the training and calibrates; `test` is seen by nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from model import registry
from model.adapter import Adapter
from model.base import find_base
from model.calibrate import Calibration, auroc, expected_calibration_error, f1
from model.contrast import contrast
from model.data import (
    Example,
    Split,
    crisislex_t6,
    crisislex_t26,
    distinct,
    normalised,
    sentfin,
    split_by_hash,
    who_don,
)
from model.engines.openvino_engine import OpenVinoEncoder
from model.head import Floats, Head
from model.log_data import bgl_first_day, bgl_templates, loghub, template
from model.tokenizing import TextTokenizer
from model.topics import DEFAULT_TOPICS
from model.training.head_fit import HeadSettings, Labelled, train_head

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
SHARES = {"sentfin": 0.25, "t6": 0.15, "t26": 0.1, "who": 0.04, "logs": 0.2, "contrast": 0.26}

#: Heads that are averaged: one alone varies by start, most of all where it stands on systems it has not seen.
MEMBERS = 2

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
    if example.source in ("t6", "t26", "who"):
        return split_by_hash(normalised(example.text), test=0)
    if example.source == "logs":
        return split_by_hash(template(example.text), test=0)
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


def means(texts: Sequence[str], encoder: OpenVinoEncoder, tokenizer: TextTokenizer, batch: int = 128) -> Floats:
    """Means of the last layers of each text, run in order of length."""
    tokens = tokenizer.encode(texts)
    order = np.argsort([len(ids) for ids in tokens], kind="stable")
    result: Floats | None = None
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        found = encoder.means([tokens[row] for row in rows])
        if result is None:
            result = np.empty((len(tokens), *found.shape[1:]), np.float32)
        result[rows] = found
    if result is None:
        raise ValueError("no texts")
    return result


def figures(chosen: Sequence[Example], probabilities: NDArray[np.float64]) -> dict[str, dict[str, float]]:
    """Size, share of bad, AUROC, F1 at 0.5, accuracy and calibration error by source."""
    result: dict[str, dict[str, float]] = {}
    bad = np.array([example.target > 0.5 for example in chosen])
    sources = np.array([example.source for example in chosen])
    for source in sorted(set(sources)):
        mine = sources == source
        p, truth = probabilities[mine], bad[mine]
        result[source] = {
            "texts": float(mine.sum()),
            "bad": float(truth.mean()),
            "auroc": auroc(p, truth),
            "f1": f1(p > 0.5, truth),
            "accuracy": float(np.mean((p > 0.5) == truth)),
            "ece": expected_calibration_error(p, truth),
        }
    return result


def make(data: Path, folder: Path, seed: int = 0) -> dict[str, dict[str, float]]:
    """Train on `data`, save the classifier in `folder`, and return its held-out figures by source."""
    base = find_base()
    encoder, tokenizer = (
        OpenVinoEncoder(base, Adapter().merged(safetensors.numpy.load_file(base.weights)), threads=2),
        TextTokenizer(base),
    )
    chosen = examples(data)
    parts = np.array([split(example) for example in chosen])
    inputs = means([example.text for example in chosen], encoder, tokenizer)
    targets = np.array([example.target for example in chosen], np.float32)
    weight = weights(chosen)
    train, tune = (Labelled(inputs[rows], targets[rows], weight[rows]) for rows in (parts == "train", parts == "tune"))
    head, calibration = train_head(train, tune, HeadSettings(seed=seed), MEMBERS)
    registry.save(folder, head, calibration, base=base.digest(), topics=DEFAULT_TOPICS)
    test = [example for example, part in zip(chosen, parts, strict=True) if part == "test"]
    result = figures(test, calibration.probabilities(head.logits(inputs[parts == "test"])))
    result["bgl from 2005-06-04"] = _bgl_by_time(data, head, calibration, encoder, tokenizer)
    return result


def _bgl_by_time(
    data: Path, head: Head, calibration: Calibration, encoder: OpenVinoEncoder, tokenizer: TextTokenizer
) -> dict[str, float]:
    rows = [row for row in bgl_first_day(data) if row[0] >= BGL_TEST_FROM]
    lines = [Example(text, float(bad), "bgl", "") for _, text, bad in rows]
    distinct_texts = list(dict.fromkeys(line.text for line in lines))
    scores = calibration.probabilities(head.logits(means(distinct_texts, encoder, tokenizer)))
    by_text = dict(zip(distinct_texts, scores, strict=True))
    return figures(lines, np.array([by_text[line.text] for line in lines]))["bgl"]


if __name__ == "__main__":
    print(msgspec.json.format(msgspec.json.encode(make(Path(sys.argv[1]), Path(sys.argv[2])))).decode())
