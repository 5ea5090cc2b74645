"""The classifier that the settings name, ready to score single texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.scoring.text_scores import TextScores
from pipeline.settings import Settings


def load_scores(settings: Settings, topics: Mapping[str, Sequence[str]] | None) -> TextScores:
    """Load it, in about a second; `topics` are those of the stream file. Raises ModelError."""
    from model.engines.choose import load_engine

    engine = load_engine(settings.engine, folder=settings.model, topics=topics)
    return TextScores(engine, cache_entries=settings.cache_entries, batch_tokens=settings.batch_tokens)
