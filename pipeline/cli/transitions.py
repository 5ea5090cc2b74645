"""A step in the life of a surge, as a replay prints it."""

from __future__ import annotations

from alerts.payload import surge_data
from pipeline.cli.output import print_json, show
from pipeline.records import Transition


def print_transition(transition: Transition, *, json: bool) -> None:
    """One JSON object, or one line for people, on standard output."""
    data = surge_data(transition)
    if json:
        print_json(data)
        return
    exemplars = data["exemplars"]
    first = f"  e.g. {exemplars[0]['text'][:90]!r}" if exemplars else ""
    show(
        f"{data['tick']}  {data['state']:8} {data['severity']:8} {data['key']}  "
        f"observed {data['observed']} of {data['total']}, expected {data['expected']}{first}"
    )
