"""What the bench of scoring compares: the usual loop, our engines on the path that the pipeline takes, and fp32."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pipeline.bench.contestant import Outcome, Runner, Stopwatch, peak_rss_mb
from pipeline.scoring.engine import Engine, Score, Tokens
from pipeline.scoring.text_scores import TextScores
from pipeline.settings import load

#: Texts in a batch of the usual loop, and its truncation, in tokens.
USUAL_BATCH = 32
USUAL_TOKENS = 256

#: Padded tokens in one batch of the reference; its size changes no score by more than the last digits.
_REFERENCE_TOKENS = 4096
_REFERENCE_CACHE = 100_000


class Metered:
    """An engine that tells what its calls cost."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name = engine.name
        self.precision = engine.precision
        self.version = engine.version
        self.start()

    def start(self) -> None:
        """Count from zero."""
        self.tokenize_seconds = self.compute_seconds = 0.0
        self.tokens = self.padded_tokens = self.computed = 0

    def encode(self, texts: Sequence[str], kind: str) -> list[Tokens]:
        began = time.perf_counter()
        encoded = self._engine.encode(texts, kind)
        self.tokenize_seconds += time.perf_counter() - began
        self.tokens += sum(map(len, encoded))
        self.computed += len(encoded)
        return encoded

    def score(self, batch: Sequence[Tokens]) -> list[Score]:
        return next(self.score_each([batch]))

    def score_each(self, batches: Iterable[Sequence[Tokens]]) -> Iterator[list[Score]]:
        results = self._engine.score_each(map(self._counted, batches))
        while True:
            began = time.perf_counter()
            scores = next(results, None)
            self.compute_seconds += time.perf_counter() - began
            if scores is None:
                return
            yield scores

    def _counted(self, batch: Sequence[Tokens]) -> Sequence[Tokens]:
        from model.engines.padding import STEP

        self.padded_tokens += len(batch) * -(-max(map(len, batch)) // STEP) * STEP
        return batch


def usual_loop() -> Runner:
    """A classifier of the base's size in fp32 through a Hugging Face pipeline, texts as they come, padded by batch.

    Its head is random: only its speed counts.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
    from transformers.utils import logging

    from model.base import find_base

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    folder = find_base(load().base).folder
    classify = pipeline(
        "text-classification",
        model=AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True, num_labels=2),
        tokenizer=AutoTokenizer.from_pretrained(folder, local_files_only=True),
    )

    def run(texts: Sequence[str]) -> Outcome:
        watch = Stopwatch()
        classify(list(texts), batch_size=USUAL_BATCH, truncation=True, max_length=USUAL_TOKENS)
        return Outcome(watch.seconds, watch.processor_seconds, computed=len(texts), peak_rss_mb=peak_rss_mb())

    return run


def our_path(engine_name: str, folder: Path | None, batch_tokens: int, kind: str, cache_entries: int) -> Runner:
    """One of our engines through templates, cache, batches and tokenizer; the cache stays over the runs."""
    from model.engines.choose import load_engine

    engine = Metered(load_engine(engine_name, folder=folder, base=load().base))
    scores = TextScores(engine, cache_entries=cache_entries, batch_tokens=batch_tokens)

    def run(texts: Sequence[str]) -> Outcome:
        engine.start()
        watch = Stopwatch()
        found = scores.score(texts, kind)
        return Outcome(
            watch.seconds,
            watch.processor_seconds,
            engine.tokenize_seconds,
            engine.compute_seconds,
            engine.tokens,
            engine.padded_tokens,
            engine.computed,
            [score.probability for score in found],
            peak_rss_mb(),
        )

    return run


def reference(folder: Path | None, kind: str) -> Runner:
    """The same classifier in fp32, on OpenVINO where it is installed (it is the quicker), else on torch."""
    from model import registry
    from model.base import find_base
    from model.engines.encoder_engine import Encoder, EncoderEngine

    classifier, base = registry.load(folder), find_base(load().base)
    weights = classifier.encoder_weights(base)
    encoder: Encoder
    try:
        from model.engines.openvino_engine import OpenVinoEncoder

        encoder = OpenVinoEncoder(base, weights, precision="f32")
    except ImportError:
        from model.engines.torch_engine import TorchEncoder

        encoder = TorchEncoder(base, weights, precision="f32")
    scores = TextScores(
        EncoderEngine(encoder, base, classifier), cache_entries=_REFERENCE_CACHE, batch_tokens=_REFERENCE_TOKENS
    )

    def run(texts: Sequence[str]) -> Outcome:
        watch = Stopwatch()
        found = scores.score(texts, kind)
        return Outcome(watch.seconds, watch.processor_seconds, probabilities=[score.probability for score in found])

    return run
