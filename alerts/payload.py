"""The body of a webhook: versioned JSON `{"type", "version", "timestamp", "data"}`. Pure.

`type` is `surge.opened`, `surge.grew`, `surge.resolved`, `system.opened`, `system.resolved` or `test`.
`timestamp` is when it happened (event time for a surge: the end of the tick), not when it was sent: the same
transition has the same body, byte for byte. Times are ISO 8601 in UTC. Fields may be added within a version.
"""

from __future__ import annotations

from typing import Any

import msgspec

from alerts.system_alarm import SystemAlarm
from pipeline.instants import to_iso
from pipeline.records import Transition

VERSION = 1

#: A payload stays near 10 KB: evidence beyond these is cut, and `more` says how much.
MAX_MEMBERS = 20
MAX_SERIES = 48
MAX_EXEMPLARS = 5
MAX_SOURCES = 10
MAX_TEXT = 300


def surge_data(transition: Transition) -> dict[str, Any]:
    """A transition as people read it: names, ISO times, evidence cut to size."""
    sources = sorted(transition.sources.items(), key=lambda item: (-item[1], item[0]))
    return {
        "id": transition.id,
        "sequence": transition.sequence,
        "run": transition.run,
        "key": f"{transition.stream}/{transition.group}",
        "stream": transition.stream,
        "group": transition.group,
        "direction": transition.direction,
        "state": transition.state,
        "severity": transition.severity,
        "opened_at": to_iso(transition.opened_us),
        "tick": to_iso(transition.tick_us),
        "tick_end": to_iso(transition.tick_end_us),
        "observed": transition.observed,
        "total": transition.total,
        "expected": transition.expected,
        "interval": [transition.low, transition.high],
        "p": transition.p,
        "members": [
            {
                "member": member.member,
                "observed": member.observed,
                "total": member.total,
                "expected": member.expected,
                "p": member.p,
            }
            for member in transition.members[:MAX_MEMBERS]
        ],
        "series": [
            {"tick": to_iso(start_us), "bad": bad, "total": total, "expected": expected}
            for start_us, bad, total, expected in transition.series[-MAX_SERIES:]
        ],
        "exemplars": [
            {
                "id": exemplar.id[:MAX_TEXT],
                "time": to_iso(exemplar.time_us),
                "source": exemplar.source[:MAX_TEXT],
                "topic": exemplar.topic,
                "score": exemplar.score,
                "text": exemplar.text[:MAX_TEXT],
            }
            for exemplar in transition.exemplars[:MAX_EXEMPLARS]
        ],
        "sources": {source[:MAX_TEXT]: bad for source, bad in sources[:MAX_SOURCES]},
        "more": {
            "members": max(0, len(transition.members) - MAX_MEMBERS),
            "exemplars": max(0, len(transition.exemplars) - MAX_EXEMPLARS),
            "sources": max(0, len(sources) - MAX_SOURCES),
        },
    }


def system_data(alarm: SystemAlarm) -> dict[str, Any]:
    """An alarm of the pipeline as people read it."""
    return {
        "id": alarm.id,
        "sequence": alarm.sequence,
        "what": alarm.what,
        "stream": alarm.stream,
        "group": alarm.group,
        "subject": alarm.subject,
        "state": alarm.state,
        "severity": alarm.severity,
        "message": alarm.message,
        "since": to_iso(alarm.since_us),
        "at": to_iso(alarm.at_us),
    }


def surge_payload(transition: Transition) -> bytes:
    """The body for a transition of a surge."""
    return _body(f"surge.{transition.state}", transition.tick_end_us, surge_data(transition))


def system_payload(alarm: SystemAlarm) -> bytes:
    """The body for an alarm of the pipeline."""
    return _body(f"system.{alarm.state}", alarm.at_us, system_data(alarm))


def sample_payload(subscription: str, now_us: int) -> bytes:
    """The body of a sample."""
    message = "This is a test from Tocsin: your endpoint can be reached. Answer with 2xx."
    return _body("test", now_us, {"subscription": subscription, "message": message})


def _body(kind: str, at_us: int, data: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"type": kind, "version": VERSION, "timestamp": to_iso(at_us), "data": data})
