"""The engine contract: texts in, probability and topic out.

Delivery: none of its own; a call returns one result a text, in order, or raises.
Ordering: results are in the order of the texts.
Idempotence: the same batch on the same machine gives the same floats; another batch shape may differ in the
last bits, which is why scores are recorded and never recomputed.
Raises: `ModelError` when the engine cannot run at all. No text makes it raise: an empty text, control characters,
lone surrogates or ten megabytes are cut or cleaned, and scored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol


class Score(NamedTuple):
    """The calibrated probability in [0, 1] that a text is bad, and its topic ("other" when none fits)."""

    probability: float
    topic: str


#: Token ids of one text, at most `max_tokens` of them, special tokens included.
Tokens = Sequence[int]


class Engine(Protocol):
    """Scores texts; see the module for what holds."""

    @property
    def name(self) -> str:
        """Which engine this is: "openvino", "onnxruntime", "torch", "null"."""

    @property
    def precision(self) -> str:
        """What it multiplies in on this machine: "f32", "bf16" or "int8"; "exact" where nothing is rounded."""

    @property
    def version(self) -> str:
        """The model's version: a hash of weights, calibration, topics and configuration."""

    def encode(self, texts: Sequence[str], kind: str) -> list[Tokens]:
        """Token ids of each text of a stream kind ("news", "logs", "health", "indicator")."""

    def score(self, batch: Sequence[Tokens]) -> list[Score]:
        """One forward pass; the caller chose the batch so that its padded size is within its budget."""

    def score_each(self, batches: Iterable[Sequence[Tokens]]) -> Iterator[list[Score]]:
        """`score` of each batch, in order; a device may be given a batch before the one before it is done."""
