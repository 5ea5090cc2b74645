"""One adaptation: from a classifier to begin with and labelled texts to another classifier, calibrated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from model.adapter import Adapter, Weights
from model.base import Base
from model.calibrate import Calibration, fit
from model.data.example import Example
from model.engines.openvino_engine import OpenVinoEncoder
from model.head import Floats, Head
from model.tokenizing import TextTokenizer
from model.training.checkpoint import Checkpoint
from model.training.head_fit import HeadSettings, Labelled, train_head
from model.training.network import Method, Network
from model.training.tuning import Texts, Told, Tuning, TuningSettings


@dataclass(frozen=True, slots=True)
class Start:
    """Where an adaptation begins: the encoder's weights, the adapter that is in them already, and a head for them;
    None: one is trained first, on the encoder as it is."""

    base: Base
    weights: Weights
    adapter: Adapter
    head: Head | None


@dataclass(frozen=True, slots=True)
class Adapted:
    """What came of it. `curve` holds (steps done, loss on the tuning part) at each check."""

    head: Head
    adapter: Adapter
    calibration: Calibration
    curve: list[tuple[int, float]] = field(default_factory=list)


def adapt(
    start: Start,
    train: Sequence[Example],
    tune: Sequence[Example],
    shares: Mapping[str, float],
    method: Method,
    settings: TuningSettings,
    told: Told,
    checkpoint: Checkpoint | None = None,
    calibrating: Sequence[Example] | None = None,
) -> Adapted:
    """Tune on `train`, stop on `tune`, calibrate on `calibrating` (None: on `tune`). `shares` of the sources in every
    batch. Raises ModelError when the result orders what calibrates backwards."""
    tokenizer = TextTokenizer(start.base)
    torch.manual_seed(settings.seed)  # an update begins with random numbers (Hu et al. 2022, section 4.1)
    before = OpenVinoEncoder(start.base, start.weights)
    seen, looked_at = (means([example.text for example in part], before, tokenizer) for part in (train, tune))
    first = start.head or _head(train, seen, tune, looked_at, settings.seed)
    network = Network(start.base, start.weights, first, method, dropout=settings.dropout)
    taught, checked = _texts(train, seen), _texts(tune, looked_at)
    tuning = Tuning(network, tokenizer, taught, checked, settings)
    tuning.run(shares, told, checkpoint)
    adapter = start.adapter.followed_by(network.adapter())
    head = network.head()
    # Calibrated as it will run: with the adapter as it is stored, merged, in the engine's own arithmetic.
    after = OpenVinoEncoder(start.base, network.adapter().merged(start.weights))
    last = tune if calibrating is None else calibrating
    logits = head.logits(means([example.text for example in last], after, tokenizer))
    return Adapted(head, adapter, fit(logits, targets(last), weights(last).astype(np.float64)), tuning.curve)


#: Heads that are averaged before tuning: one alone varies by start, most of all on kinds of text it has not seen.
_HEADS = 2


def _head(train: Sequence[Example], seen: Floats, tune: Sequence[Example], looked_at: Floats, seed: int) -> Head:
    parts = [
        Labelled(found, targets(part).astype(np.float32), weights(part))
        for part, found in ((train, seen), (tune, looked_at))
    ]
    return train_head(parts[0], parts[1], HeadSettings(seed=seed), _HEADS)[0]


def means(texts: Sequence[str], encoder: OpenVinoEncoder, tokenizer: TextTokenizer, batch: int = 128) -> Floats:
    """Means of the last layers (n, `DEPTH`, hidden) of each text, run in order of length."""
    tokens = tokenizer.encode(texts)
    order = np.argsort([len(ids) for ids in tokens], kind="stable")
    parts = [encoder.means([tokens[row] for row in order[at : at + batch]]) for at in range(0, len(order), batch)]
    if not parts:
        raise ValueError("no texts")
    found = np.concatenate(parts)
    result = np.empty_like(found)
    result[order] = found
    return result


def targets(examples: Sequence[Example]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Targets (n)."""
    return np.array([example.target for example in examples], np.float64)


def weights(examples: Sequence[Example]) -> Floats:
    """Weights (n)."""
    return np.array([example.weight for example in examples], np.float32)


def _texts(examples: Sequence[Example], found: Floats) -> Texts:
    last = found[:, -1]
    return Texts(
        [example.text for example in examples],
        targets(examples).astype(np.float32),
        weights(examples),
        [example.source.partition(":")[0] for example in examples],
        np.asarray(last / np.linalg.norm(last, axis=1, keepdims=True), np.float32),
    )
