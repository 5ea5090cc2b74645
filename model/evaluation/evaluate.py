"""The evaluation of a classifier on the public sets: held-out parts, baselines beside it, slices, and sources left out.

Without `retrain` the classifier is scored as it is, the baselines are fitted anew, and what needs trainings of its own
(a source left out, full tuning) is taken from the classifier's `evaluation.json`, where a retraining has put it. With
`retrain` every such training is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from model.adapter import Weights
from model.base import Base
from model.calibrate import Calibration
from model.data.example import Example
from model.engines.openvino_engine import OpenVinoEncoder
from model.evaluation import baselines, slices
from model.evaluation.figures import Bin, Figures, figures, reliability, uncalibrated
from model.head import Floats, Head
from model.registry import StoredClassifier
from model.tokenizing import TextTokenizer
from model.training import recipe
from model.training.adaptation import means
from pipeline.scoring.kind import as_scored
from pipeline.scoring.template import scored_texts

#: A baseline is fitted to every nth text of a source, n its texts over `_FITTED`, rounded down: to fewer than twice as
#: many. Of a held-out part at most `_SCORED` are scored.
_FITTED, _SCORED = 6_000, 3_000

Say = Callable[[str], None]


class Gap(msgspec.Struct, frozen=True):
    """How much better a classifier is that was tuned with the source: differences of AUROC and F1."""

    auroc: float | None
    f1: float


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One source's held-out part. `tuned`: the classifier as it is; `tfidf` and `probe`: fitted to this source;
    `left_out`: trained without the whole source; `gap` between the two; `full` and `lora`: every weight tuned, beside a
    low-rank adapter, in one run."""

    split: str
    tuned: Figures
    tfidf: Figures | None = None
    probe: Figures | None = None
    left_out: Figures | None = None
    gap: Gap | None = None
    full: Figures | None = None
    lora: Figures | None = None


class Retrained(msgspec.Struct, frozen=True, kw_only=True):
    """What trainings of their own showed on the day `made`, by source, for the classifier `model`: `evaluation.json`.
    `curve`: (steps, loss on the tuning part) of the low-rank training with all sources."""

    model: str
    made: str
    left_out: dict[str, Figures]
    full: dict[str, Figures]
    lora: dict[str, Figures]
    curve: list[tuple[int, float]]


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is said of a classifier. `retrained` is the day of the trainings behind `left_out` and `full`."""

    model: str
    retrained: str | None
    sources: dict[str, Source]
    slices: dict[str, Figures]
    reliability: dict[str, list[Bin]]


#: The splits, in words.
SPLITS = {
    "sentfin": "by headline",
    "t6": "by event: Oklahoma tornado",
    "t26": "by event: four of them",
    "who": "by year: from 2013",
    "logs": "by system: HPC, Zookeeper",
    "bgl": "by time: from midnight",
    "contrast": "by sentence",
}


class Examinee:
    """A classifier under examination. It computes each distinct text once: slices look at the same ones again."""

    def __init__(self, base: Base, weights: Weights, head: Head, calibration: Calibration) -> None:
        """`weights` of the encoder with the adapter merged."""
        self._encoder, self._tokenizer = OpenVinoEncoder(base, weights), TextTokenizer(base)
        self._head, self._calibration = head, calibration
        self._known: dict[str, float] = {}

    def logits(self, texts: Sequence[str]) -> Floats:
        """Logits (n), before calibration."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            found = self._head.logits(means(new, self._encoder, self._tokenizer))
            self._known.update(zip(new, found.tolist(), strict=True))
        return np.array([self._known[text] for text in texts], np.float32)

    def figures(self, examples: Sequence[Example]) -> Figures:
        """Before and after calibration."""
        logits = self.logits([example.text for example in examples])
        return figures(self._calibration.probabilities(logits), truths(examples), uncalibrated(logits))

    def probabilities(self, examples: Sequence[Example]) -> NDArray[np.float64]:
        return self._calibration.probabilities(self.logits([example.text for example in examples]))


def examinee(base: Base, classifier: StoredClassifier) -> Examinee:
    """A stored classifier, in the default engine's arithmetic."""
    return Examinee(base, classifier.encoder_weights(base), classifier.head, classifier.calibration)


def truths(examples: Sequence[Example]) -> NDArray[np.bool_]:
    """Whether each text is bad (n): a soft target counts as what it is nearer to."""
    return np.array([example.target > 0.5 for example in examples])


def held_out(data: Path, examples: Sequence[Example]) -> dict[str, list[Example]]:
    """The test part of each source in `data`, whose examples these are; at most so many of each, evenly drawn. Of log
    lines what is scored of them, their templates, and each message once, whatever its headers."""
    parts: dict[str, list[Example]] = {name: [] for name in SPLITS}
    for example in examples:
        if recipe.split(example) == "test":
            parts[example.source.partition(":")[0]].append(example)
    messages: dict[str, Example] = {}
    for example in parts["logs"]:
        messages.setdefault(example.origin, example)
    parts["logs"] = _lines([*messages.values()])
    parts["bgl"] = _lines(recipe.bgl_test(data))
    return {name: part[:: -(-len(part) // _SCORED)] for name, part in parts.items() if part}


def _lines(examples: Sequence[Example]) -> list[Example]:
    texts = scored_texts("logs", [example.text for example in examples])
    return [replace(example, text=text) for example, text in zip(examples, texts, strict=True)]


def evaluate(base: Base, classifier: StoredClassifier, data: Path, retrained: Retrained | None, say: Say) -> Evaluation:
    """Raises ModelError, OSError where the sets cannot be read."""
    everything = recipe.examples(data)
    tests = held_out(data, everything)
    mine = examinee(base, classifier)
    sources: dict[str, Source] = {}
    diagrams: dict[str, list[Bin]] = {}
    untuned = OpenVinoEncoder(base, base.load())
    for name, part in tests.items():
        say(f"{name}: {len(part):,} held-out texts")
        tuned = mine.figures(part)
        if 0 < tuned.bad < 1:
            diagrams[name] = reliability(mine.probabilities(part), truths(part))
        fitted = [e for e in everything if e.source.partition(":")[0] == name]
        beside = _baselines(base, untuned, fitted, part)
        left = retrained.left_out.get(name) if retrained else None
        sources[name] = Source(
            split=SPLITS[name],
            tuned=tuned,
            tfidf=beside[0],
            probe=beside[1],
            left_out=left,
            gap=_gap(tuned, left) if left else None,
            full=retrained.full.get(name) if retrained else None,
            lora=retrained.lora.get(name) if retrained else None,
        )
    return Evaluation(
        model=classifier.description.version,
        retrained=retrained.made if retrained else None,
        sources=sources,
        slices=_slices(mine, tests),
        reliability=diagrams,
    )


def evaluate_own(base: Base, classifier: StoredClassifier, examples: Sequence[Example]) -> dict[str, Figures]:
    """Of a person's own texts as they are scored (a log line by its template), all of them and by kind of text."""
    mine = examinee(base, classifier)
    examples = [replace(example, text=as_scored(example.text)) for example in examples]
    result = {"all": mine.figures(examples)}
    for name, rows in slices.cut(examples):
        if rows:
            result[name] = mine.figures([examples[row] for row in rows])
    return result


def _gap(tuned: Figures, left: Figures) -> Gap:
    areas = None if tuned.auroc is None or left.auroc is None else round(tuned.auroc - left.auroc, 4)
    return Gap(areas, round(tuned.f1 - left.f1, 4))


def _slices(mine: Examinee, tests: dict[str, list[Example]]) -> dict[str, Figures]:
    texts = [example for name, part in tests.items() if name not in ("bgl", "who") for example in part]
    result = {name: mine.figures([texts[row] for row in rows]) for name, rows in slices.cut(texts) if rows}
    result["upper case"] = mine.figures(slices.upper(tests["sentfin"]))
    contrast = tests["contrast"]
    result["good news about bad topics"] = mine.figures([e for e in contrast if e.target < 0.5])
    for domain in sorted({e.source for e in contrast}):
        result[domain] = mine.figures([e for e in contrast if e.source == domain])
    own = slices.written()
    for name in dict.fromkeys(example.source for example in own):
        result[name] = mine.figures([example for example in own if example.source == name])
    return result


def _baselines(
    base: Base, untuned: OpenVinoEncoder, fitted: Sequence[Example], test: Sequence[Example]
) -> tuple[Figures | None, Figures | None]:
    parts = {
        part: [example for example in fitted if recipe.split(example) == part][:: max(1, len(fitted) // _FITTED)]
        for part in ("train", "tune")
    }
    bad = {part: truths(examples) for part, examples in parts.items()}
    if any(not flags.any() or flags.all() for flags in bad.values()):
        return None, None  # one class alone, or (BlueGene/L) no texts of its own to fit to
    texts = {part: [example.text for example in examples] for part, examples in parts.items()}
    tested = [example.text for example in test]
    by_words = baselines.tfidf(texts["train"], bad["train"], texts["tune"], bad["tune"], tested)
    tokenizer = TextTokenizer(base)
    embedded = {
        part: means(part_texts, untuned, tokenizer)[:, -1] for part, part_texts in {**texts, "test": tested}.items()
    }
    by_probe = baselines.probe(embedded["train"], bad["train"], embedded["tune"], bad["tune"], embedded["test"])
    truth = truths(test)
    return figures(by_words, truth), figures(by_probe, truth)
