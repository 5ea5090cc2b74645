"""Tuning the encoder: mixed batches, an adversary, early stopping, and going on where it was stopped.

Deterministic: the same seed gives the same weights on the same machine, stopped in between or not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.engines.cpu import has_bf16
from model.engines.padding import padded
from model.head import Floats
from model.tokenizing import PAD, TextTokenizer
from model.training.augment import augmented
from model.training.checkpoint import Checkpoint
from model.training.network import Method, Network
from model.training.sampling import MixedBatches, by_length
from pipeline.errors import ModelError

#: The rate of the encoder by method: a whole matrix moves further at the same rate than an update of low rank.
RATES: dict[Method, float] = {"lora": 5e-4, "full": 5e-5, "head": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningSettings:
    """How an encoder is tuned.

    `keep` weighs how far embeddings may turn from the base's, in which topics live; `adversary` is the length of the
    step by which words are made worse, relative to theirs, 0 for none; `patience` counts checks, 0 for all epochs.
    """

    epochs: int = 4
    steps: int = 180
    batch: int = 64
    rate: float = RATES["lora"]
    head_rate: float = 1e-3
    decay: float = 0.01
    warm_up: float = 0.06
    dropout: float = 0.3
    keep: float = 0.3
    adversary: float = 0.0
    augment: bool = False
    patience: int = 0
    checks: int = 2
    tokens: int = 128
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts with targets in [0, 1] (n), weights (n), sources, and the base's embeddings (n, hidden), of length 1."""

    texts: Sequence[str]
    targets: Floats
    weights: Floats
    sources: Sequence[str]
    embeddings: Floats


#: Told after each step: steps done, steps in all, least loss on `tune` so far.
Told = Callable[[int, int, float], None]


class Tuning:
    """One training of a network, step by step."""

    def __init__(
        self, network: Network, tokenizer: TextTokenizer, train: Texts, tune: Texts, settings: TuningSettings
    ) -> None:
        self._network, self._tokenizer, self._settings = network, tokenizer, settings
        self._train, self._tune = train, tune
        self._bf16 = has_bf16()
        self._tokens = [ids[: settings.tokens] for ids in tokenizer.encode(train.texts)]
        self._lengths = np.array([len(ids) for ids in self._tokens])
        head = [value for name, value in network.trained().items() if not name.startswith("encoder.")]
        encoder = [value for name, value in network.trained().items() if name.startswith("encoder.")]
        self._optimizer = torch.optim.AdamW(
            [{"params": encoder, "lr": settings.rate}, {"params": head, "lr": settings.head_rate}],
            weight_decay=settings.decay,
        )
        self._total = settings.epochs * settings.steps
        #: (steps done, loss on `tune`) at each check, the first before any step.
        self.curve: list[tuple[int, float]] = []

    def _pace(self, step: int) -> float:
        """The part of the rate at a step: up in a line, then down in half a cosine."""
        warm = max(1, round(self._settings.warm_up * self._total))
        done = max(0, step - warm) / max(1, self._total - warm)
        return min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * done)))

    def run(self, shares: Mapping[str, float], told: Told, checkpoint: Checkpoint | None = None) -> float:
        """Train to the end, and leave the network as it was at its best check. Returns its loss on `tune`. Raises
        ModelError when the weights grow beyond what a number holds."""
        settings = self._settings
        batches = MixedBatches(
            self._train.sources, self._train.weights, shares, batch=settings.batch, seed=settings.seed
        )
        total = self._total
        every = max(1, settings.steps // settings.checks)
        trained = self._network.trained()
        best, best_loss, since, first = self._copy(), self._checked(0), 0, 0
        self.curve = [(0, best_loss)]
        if checkpoint is not None and (found := checkpoint.load(trained, self._optimizer)) is not None:
            first, best, best_loss, since = found.step, found.best, found.best_loss, found.since
            self.curve = found.curve
        epoch: list[NDArray[np.int64]] = []
        for step in range(first, total):
            # Asked before a step, so that one that had ended goes no further when it is resumed.
            if settings.patience and since >= settings.patience:
                break
            if step % settings.steps == 0 or not epoch:
                epoch = batches.epoch(step // settings.steps, settings.steps)
            self._step(step, epoch[step % settings.steps])
            if (step + 1) % every == 0:
                loss = self._checked(step + 1)
                self.curve.append((step + 1, loss))
                since += 1
                if loss < best_loss:
                    best, best_loss, since = self._copy(), loss, 0
                if checkpoint is not None:
                    checkpoint.save(step + 1, trained, self._optimizer, best, best_loss, since, self.curve)
            told(step + 1, total, best_loss)
        with torch.no_grad():
            for name, value in trained.items():
                value.copy_(best[name])
        return best_loss

    def loss(self) -> float:
        """The weighted mean cross-entropy on `tune`."""
        logits = self.logits(self._tune.texts)
        losses = np.logaddexp(0, logits) - self._tune.targets * logits
        return float((self._tune.weights * losses).sum() / self._tune.weights.sum())

    def _checked(self, step: int) -> float:
        """The loss after so many steps, before they are kept: from no number on, each step makes none."""
        with np.errstate(invalid="ignore"):
            loss = self.loss()
        if not math.isfinite(loss):
            raise ModelError(
                f"the training came to no number: its loss after step {step} is {loss}; train with another --seed, or "
                "with --method head, and begin with a sound base and classifier"
            )
        return loss

    def logits(self, texts: Sequence[str], batch: int = 128) -> Floats:
        """Logits (n) of texts, as the network is now."""
        tokens = [ids[: self._settings.tokens] for ids in self._tokenizer.encode(texts)]
        order = np.argsort([len(ids) for ids in tokens], kind="stable")
        result = np.empty(len(tokens), np.float32)
        self._network.eval()
        with torch.inference_mode(), self._arithmetic():
            for start in range(0, len(order), batch):
                rows = order[start : start + batch]
                ids = torch.from_numpy(padded([tokens[row] for row in rows])).long()
                result[rows] = self._network(self._network.words(ids), ids != PAD)[0].float().numpy()
        return result

    def _step(self, step: int, rows: NDArray[np.int64]) -> None:
        settings = self._settings
        # By step, so that a training that goes on draws what it would have drawn.
        torch.manual_seed(settings.seed * 1_000_003 + step)
        draw = np.random.default_rng([settings.seed, step, 1])
        self._network.train()
        self._optimizer.zero_grad(set_to_none=True)
        tokens, lengths = self._tokens, self._lengths
        parts = list(by_length(rows, lengths, 4))
        for part in parts:
            if settings.augment:
                batch = self._tokenizer.encode([augmented(self._train.texts[row], draw) for row in part])
                batch = [ids[: settings.tokens] for ids in batch]
            else:
                batch = [tokens[row] for row in part]
            ids = torch.from_numpy(padded(batch)).long()
            present = ids != PAD
            targets = torch.from_numpy(self._train.targets[part])
            near = torch.from_numpy(self._train.embeddings[part])
            words = self._network.words(ids).detach()
            words.requires_grad_(settings.adversary > 0)
            self._loss(words, present, targets, near, len(rows)).backward()  # type: ignore[no-untyped-call]
            if settings.adversary:
                assert words.grad is not None
                worse = words.detach() + _adversary(words, present, words.grad, settings.adversary)
                self._loss(worse, present, targets, near, len(rows)).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(list(self._network.trained().values()), 1.0)
        for group, rate in zip(self._optimizer.param_groups, (settings.rate, settings.head_rate), strict=True):
            group["lr"] = rate * self._pace(step)
        self._optimizer.step()

    def _loss(self, words: Tensor, present: Tensor, targets: Tensor, near: Tensor, rows: int) -> Tensor:
        with self._arithmetic():
            logits, embeddings = self._network(words, present)
        logits, embeddings = logits.float(), embeddings.float()
        loss = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        if self._settings.keep:
            loss = loss + self._settings.keep * (1 - (embeddings * near).sum(-1)).sum()
        return loss / rows

    def _arithmetic(self) -> torch.autocast:
        """bf16 products where the CPU multiplies them itself: half again as fast."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self._bf16)

    def _copy(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self._network.trained().items()}


def _adversary(words: Tensor, present: Tensor, gradient: Tensor, length: float) -> Tensor:
    """A step against the model in each text's words (Miyato et al. 2017, eq. 5), relative to their own length, whatever
    the text is filled up with."""
    flat = gradient.flatten(1).norm(dim=1).clamp_min(1e-12)
    size = (words.detach() * present.unsqueeze(-1)).flatten(1).norm(dim=1)
    step: Tensor = gradient * (length * size / flat)[:, None, None]
    return step
