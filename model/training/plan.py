"""What a person asks of a training, and the settings that follow from it and from the number of texts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from model.training.network import Method
from model.training.tuning import RATES, TuningSettings

#: The share of a batch that is a person's own texts. The rest are the project's sentences about what is bad and what
#: only looks like it, so that a classifier which learns one field does not forget the others.
OWN = 0.6

#: (texts to train on at most, epochs): few texts are seen more often.
_EPOCHS = ((1_000, 8), (10_000, 4), (math.inf, 2))

#: The length of an adversary's step, relative to the words; see `TuningSettings.adversary`.
_ADVERSARY = 0.05

#: Epochs without a lower loss after which early stopping stops; one less than there are, at most.
_PATIENCE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`members` of the ensemble, 0 for none; `epochs` None: by the number of texts."""

    method: Method = "lora"
    augment: bool = False
    adversarial: bool = False
    early_stopping: bool = False
    members: int = 0
    epochs: int | None = None
    seed: int = 0

    def settings(self, texts: int) -> TuningSettings:
        """For so many own texts to train on: an epoch sees each of them about once."""
        batch = 32 if texts < 2_000 else 64
        epochs = self.epochs or next(epochs for most, epochs in _EPOCHS if texts <= most)
        return TuningSettings(
            epochs=epochs,
            steps=math.ceil(texts / OWN / batch),
            batch=batch,
            rate=RATES[self.method],
            adversary=_ADVERSARY if self.adversarial else 0.0,
            augment=self.augment,
            patience=min(_PATIENCE, epochs - 1) if self.early_stopping else 0,
            checks=1,
            seed=self.seed,
        )
