"""Topics by prototype: a name and a few example phrases; no training.

A text has the topic whose examples are nearest to it in the base's embedding space (Snell et al. 2017, section
2.2, with cosine for distance), or "other" when none is near enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError

Floats = NDArray[np.float32]

OTHER = "other"

#: A text nearer than this cosine to no prototype is "other".
MARGIN = 0.18

DEFAULT_TOPICS: dict[str, list[str]] = {
    "security": [
        "hackers steal data in a cyber attack",
        "malware and ransomware infection",
        "authentication failure for an invalid user, failed password",
        "break-in attempt and brute force login",
        "software vulnerability is exploited",
        "phishing and stolen passwords",
        "firewall blocked an intrusion",
        "data breach exposes customer records",
    ],
    "finance": [
        "company profit and quarterly earnings",
        "stock market, shares and investors",
        "bank, bonds, interest rates and currency",
        "sales, revenue and dividend of a company",
        "merger, acquisition or bankruptcy of a company",
        "job cuts and layoffs at a company",
        "inflation and the economy",
        "buy or sell the stock, target price",
        "fund, futures, gold and crude oil prices",
        "accounting fraud at a bank",
    ],
    "public-health": [
        "outbreak of an infectious disease",
        "patients with fever in hospital",
        "vaccination campaign against measles",
        "cases and deaths from a virus reported by the Ministry of Health",
        "influenza activity and epidemic surveillance",
        "food poisoning and contaminated water",
    ],
    "disasters": [
        "earthquake destroys houses",
        "flood, storm and evacuation",
        "wildfire burns homes",
        "train derailment or plane crash with casualties",
        "explosion and building collapse",
        "rescue of people after a landslide",
        "tornado and hurricane damage",
    ],
    "infrastructure": [
        "server error and system failure",
        "disk, memory and kernel error",
        "network connection lost, timeout, link down",
        "service started or stopped, job completed",
        "node, database and file system status",
        "power outage and data centre failure",
        "request handled with status code",
        "task of an application server finished",
        "data block received and stored",
    ],
    "politics": [
        "election, parliament and president",
        "prime minister and government",
        "protest and police violence",
        "war, troops and air strike",
        "peace talks and diplomacy between countries",
        "government law, court and human rights",
        "terrorist attack and rebels",
        "journalist jailed in a dictatorship",
        "sanctions, nuclear programme and foreign ministry",
    ],
}


def check_topics(topics: Mapping[str, Sequence[str]]) -> None:
    """Raises ModelError for a topic without a name or phrases, or with one text in place of a list of them."""
    for name, phrases in topics.items():
        if not name or not phrases or isinstance(phrases, str):
            raise ModelError(f'topic {name!r} needs a name and a list of example phrases: {{"sport": ["cup final"]}}')


class Prototypes:
    """The centre of each topic's phrases, at unit length: names (k) and centres (k, d)."""

    def __init__(self, topics: Mapping[str, Sequence[str]], embed: Callable[[list[str]], Floats]) -> None:
        """Embeds every phrase once. Raises ModelError for a topic without a phrase."""
        check_topics(topics)
        self.names = (*topics, OTHER)
        rows = embed([phrase for phrases in topics.values() for phrase in phrases]) if topics else None
        centres = []
        start = 0
        for phrases in topics.values():
            assert rows is not None
            centre = rows[start : start + len(phrases)].mean(axis=0)
            centres.append(centre / np.linalg.norm(centre))
            start += len(phrases)
        self._centres = np.array(centres, np.float32)

    def nearest(self, embeddings: Floats) -> list[str]:
        """The topic of each embedding (n, d) of unit length."""
        if not len(self._centres):
            return [OTHER] * len(embeddings)
        cosines = embeddings @ self._centres.T
        best = cosines.argmax(axis=1)
        best[cosines.max(axis=1) < MARGIN] = len(self._centres)
        return [self.names[index] for index in best]
