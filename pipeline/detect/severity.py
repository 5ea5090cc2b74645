"""Severity: how large a surge is, whatever its p-value.

The effect is the observed count over the upper end of its 95 % predictive interval for a rise, the lower end over
the observed count for a drop: the least factor that the data vouch for. A busy key that is a little above its
expectation is certain but small; that is news for a dashboard, not for the night.

An upper end below FEW counts as FEW: four lines where none was expected are worth a look, not an ambulance.

| severity | rise: observed / high | drop: low / (observed + 1/2) |
| --- | --- | --- |
| info | below 1.5 | below 2 |
| warning | 1.5 and more | 2 and more |
| critical | 3 and more | 5 and more |
"""

from __future__ import annotations

from typing import Literal

from pipeline.records import KeyReport

Severity = Literal["info", "warning", "critical"]

FEW = 2.0

_RANK: dict[Severity, int] = {"info": 0, "warning": 1, "critical": 2}


def severity(report: KeyReport) -> Severity:
    """The severity of what one key shows; see the table of the module."""
    if report.direction == "up":
        effect, warning, critical = report.observed / max(report.high, FEW), 1.5, 3.0
    else:
        effect, warning, critical = report.low / (report.observed + 0.5), 2.0, 5.0
    if effect >= critical:
        return "critical"
    return "warning" if effect >= warning else "info"


def is_worse(one: Severity, other: Severity) -> bool:
    """Whether `one` is more severe than `other`."""
    return _RANK[one] > _RANK[other]
