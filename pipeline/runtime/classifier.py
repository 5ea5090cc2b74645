"""The classifier that the settings name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipeline.scoring.engine import Engine
from pipeline.scoring.text_scores import TextScores
from pipeline.settings import Settings


def loader(settings: Settings, topics: Mapping[str, Sequence[str]] | None) -> Callable[[Path | None], Engine]:
    """What loads the classifier in a folder, or the shipped one, in about a second; `topics` are those of the stream
    file. It raises ModelError."""

    def load(folder: Path | None) -> Engine:
        from model.engines.choose import load_engine

        return load_engine(settings.engine, folder=folder, topics=topics, base=settings.base)

    return load


def load_scores(settings: Settings, topics: Mapping[str, Sequence[str]] | None) -> TextScores:
    """The classifier that the settings name, else the shipped one, ready to score single texts. Raises ModelError."""
    engine = loader(settings, topics)(settings.model)
    return TextScores(engine, cache_entries=settings.cache_entries, batch_tokens=settings.batch_tokens)
