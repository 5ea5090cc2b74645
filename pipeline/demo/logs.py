"""A day of log lines of twelve services, two or three of which break for a while.

Lines are written as RFC 5424 or in the ISO 8601 form of syslog daemons. The form of RFC 3164 is left out: it has no
year, so what it means would depend on the day on which the demonstration runs.
"""

from __future__ import annotations

from random import Random
from typing import Any

from pipeline.demo.hours import times_of_day, times_within, windows
from pipeline.demo.planted import DayItem, Planted
from pipeline.demo.texts import Slots, read_bank
from pipeline.instants import MINUTE_US, to_datetime

LINES = 19_000
#: The share of errors on an ordinary day lies between these, by service.
ERRORS = (0.02, 0.05)
#: Lines of a failure in five minutes.
FAILURE = (12, 25)
#: Shops are busiest in the evening; machines never stop.
BY_HOUR = (7, 6, 6, 6, 6, 7, 8, 9, 10, 10, 10, 10, 11, 10, 10, 10, 10, 11, 12, 12, 11, 10, 9, 8)
_INFORMATIONAL, _ERROR = 6, 3  # severities of RFC 5424, section 6.2.1


def logs(draw: Random) -> tuple[list[DayItem], list[Planted]]:
    """The lines by event time, and the failures planted in them."""
    bank = read_bank("logs")
    slots = Slots({}, bank["ranges"])
    services: dict[str, Any] = bank["services"]
    busy = {name: draw.uniform(0.6, 1.4) for name in services}
    wrong = {name: draw.uniform(*ERRORS) for name in services}
    lines: list[tuple[int, str, str, int, str]] = []
    for time_us in times_of_day(draw, LINES, BY_HOUR):
        name = draw.choices(list(busy), list(busy.values()))[0]
        bad = draw.random() < wrong[name]
        template = draw.choice(services[name]["errors" if bad else "normal"])
        lines.append((time_us, name, draw.choice(services[name]["hosts"]), _ERROR if bad else _INFORMATIONAL, template))

    planted = []
    failures = draw.randint(2, 3)
    broken = draw.sample(sorted({event["service"] for event in bank["events"]}), failures)
    for name, window in zip(
        broken,
        windows(draw, failures, first_hour=6, shortest_us=20 * MINUTE_US, longest_us=45 * MINUTE_US),
        strict=True,
    ):
        event = draw.choice([event for event in bank["events"] if event["service"] == name])
        hosts = services[name]["hosts"]
        hit = sorted(draw.sample(hosts, draw.randint(1, len(hosts))))
        for time_us in times_within(draw, window, each_us=5 * MINUTE_US, least=FAILURE[0], most=FAILURE[1]):
            lines.append((time_us, name, draw.choice(hit), _ERROR, draw.choice(event["lines"])))
        planted.append(
            Planted(
                stream="logs",
                group=f"program:{name}",
                start_us=window[0],
                end_us=window[1],
                what=f"{name} fails: {event['what']}",
            )
        )

    items = []
    pids = {(name, host): draw.randint(300, 30_000) for name in services for host in services[name]["hosts"]}
    for time_us, name, host, level, template in sorted(lines):
        text = slots.fill(draw, template)
        items.append(DayItem(time_us, _written(services[name], time_us, name, host, pids[name, host], level, text)))
    return items, planted


def _written(service: dict[str, Any], time_us: int, name: str, host: str, pid: int, level: int, text: str) -> bytes:
    """A line in the format of its service."""
    moment = to_datetime(time_us)
    if service["format"] == "rfc5424":
        priority = service["facility"] * 8 + level
        time = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = f"<{priority}>1 {time} {host} {name} {pid} - - {text}"
    else:
        line = f"{moment.isoformat(timespec='microseconds')} {host} {name}[{pid}]: {text}"
    return line.encode()
