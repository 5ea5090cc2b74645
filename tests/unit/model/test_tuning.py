"""Steps of a training, on a network of a few numbers: what they do to texts, to words and to embeddings, and where they
end."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.tokenizing import PAD, TextTokenizer
from model.training import tuning
from model.training.network import Network
from model.training.tuning import Texts, Tuning, TuningSettings

WIDTH, WORDS = 4, 512


class TinyNetwork(Network):
    """The mean of the words, turned, is the embedding; the logit bends and weighs that. Keeps what it was trained on:
    words and logits."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        torch.manual_seed(0)
        self.words = nn.Embedding(WORDS, WIDTH).requires_grad_(False)
        self.encoder = nn.Linear(WIDTH, WIDTH, bias=False)
        self.outer = nn.Linear(WIDTH, 1)
        nn.init.eye_(self.encoder.weight)
        self.taught: list[tuple[Tensor, Tensor]] = []

    def forward(self, inputs: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        weight = present.unsqueeze(-1).float()
        turned = self.encoder((inputs * weight).sum(1) / weight.sum(1))
        logits = self.outer(torch.tanh(turned)).squeeze(-1)
        if self.training:
            self.taught.append((inputs.detach(), logits.detach()))
        return logits, nn.functional.normalize(turned, dim=-1)

    def embeddings(self, texts: Sequence[str]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        """Embeddings (n, WIDTH) of texts of as many words each."""
        ids = torch.tensor(Tokenizer().encode(texts))
        self.eval()
        with torch.no_grad():
            return np.asarray(self(self.words(ids), ids != PAD)[1].numpy())


class Tokenizer(TextTokenizer):
    """A number for each word. Keeps the texts that it was given."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def encode(self, texts: Sequence[str]) -> list[Sequence[int]]:
        self.seen += texts
        return [[1 + zlib.crc32(word.encode()) % (WORDS - 1) for word in text.split()] for text in texts]


@pytest.fixture(autouse=True)
def _no_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same arithmetic on every CPU."""
    monkeypatch.setattr(tuning, "has_bf16", lambda: False)


TOWNS = ("Faro", "Turku", "Graz", "Split", "Cork", "Lund", "Nice", "Bari")
TEXTS = [f"Pump {number} near {town} {what}" for town in TOWNS for number in (17, 230) for what in ("burns", "opens")]
TARGETS = [float("burns" in text) for text in TEXTS]
#: Words of each text; what follows them in a batch fills it up, and is none of the text's.
LENGTH = 5


def _texts(targets: Sequence[float] = TARGETS) -> Texts:
    ones = np.ones(len(TEXTS), np.float32)
    return Texts(TEXTS, np.array(targets, np.float32), ones, ["yours"] * len(TEXTS), TinyNetwork().embeddings(TEXTS))


SETTINGS = TuningSettings(epochs=4, steps=5, batch=16, checks=1, rate=0.1, head_rate=0.1, keep=0.0)


def _trained(settings: TuningSettings, train: Texts, tune: Texts) -> tuple[TinyNetwork, Tokenizer, Tuning]:
    network, tokenizer = TinyNetwork(), Tokenizer()
    training = Tuning(network, tokenizer, train, tune, settings)
    training.run({}, lambda *_: None)
    return network, tokenizer, training


def test_an_adversary_moves_words_by_a_part_of_their_length_to_where_the_model_is_wrong() -> None:
    all_bad = _texts([1.0] * len(TEXTS))
    network, *_ = _trained(replace(SETTINGS, adversary=0.1), all_bad, all_bad)
    assert len(network.taught) == 2 * 4 * 20  # both, of the four parts of each step
    for (words, logits), (moved, worse) in zip(network.taught[::2], network.taught[1::2], strict=True):
        assert (worse < logits).all()
        length = words[:, :LENGTH].flatten(1).norm(dim=1)
        assert torch.allclose((moved - words).flatten(1).norm(dim=1), 0.1 * length)


@pytest.mark.parametrize("augment", [False, True])
def test_texts_are_changed_at_random_where_that_is_asked_for(augment: bool) -> None:
    _, tokenizer, _ = _trained(replace(SETTINGS, augment=augment), _texts(), _texts())
    assert bool(set(tokenizer.seen) - set(TEXTS)) == augment


def test_embeddings_stay_near_those_of_the_base_where_that_is_asked_for() -> None:
    nearness = []
    for keep in (0.0, 1.0):
        network, *_ = _trained(replace(SETTINGS, keep=keep), _texts(), _texts())
        nearness.append(float((network.embeddings(TEXTS) * _texts().embeddings).sum(axis=1).mean()))
    free, kept = nearness
    assert free < 0.8 < 0.95 < kept


def test_a_training_that_goes_too_far_ends_as_it_was_at_its_best_check() -> None:
    sure, timid = ([certain if target else 1 - certain for target in TARGETS] for certain in (0.9, 0.7))
    *_, training = _trained(replace(SETTINGS, epochs=8), _texts(sure), _texts(timid))
    losses = [loss for _, loss in training.curve]
    assert min(losses) not in (losses[0], losses[-1])
    assert training.loss() == min(losses)
