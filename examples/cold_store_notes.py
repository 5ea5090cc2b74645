"""500 invented shift notes of a cold store, with labels, as CSV: something to train on. See docs/training.md.

What is bad here no general classifier knows: -18 °C is fine and -9 is not; a compressor that stops for defrosting is
routine, and one that does not come back is not.
"""

from __future__ import annotations

import csv
import random
import sys

BAD = [
    "chamber {n} at {warm} and rising",
    "core temperature of lot {lot} measured at {warm}",
    "door {n} found ajar, open for {long} minutes",
    "compressor {n} will not come back after defrost",
    "compressor {n} tripped again, third time this week",
    "generator did not take over when the mains went",
    "evaporator {n} iced over, no airflow in chamber {n}",
    "lot {lot} thawed at the edges, moved to quarantine",
    "ammonia smell at valve {n}, hall cleared",
    "logger {n} shows a gap of {long} minutes, nobody knows why",
    "lot {lot} loaded from a truck at {warm}",
    "alarm of chamber {n} was switched off by hand, found at the change of shift",
]
FINE = [
    "chamber {n} at {cold}, steady",
    "core temperature of lot {lot} measured at {cold}",
    "door {n} open for {short} minutes for loading, closed",
    "compressor {n} stopped for defrost, back on time",
    "compressor {n} swapped with its spare as planned",
    "generator took over when the mains went, no change in any chamber",
    "evaporator {n} defrosted by schedule",
    "lot {lot} moved to the thawing room as ordered",
    "ammonia sensor {n} calibrated, hall was cleared for it",
    "logger {n} exchanged, gap of {short} minutes noted beforehand",
    "lot {lot} loaded from a truck at {cold}",
    "alarm of chamber {n} tested with the fire brigade, works",
]
ASIDES = ["", "", "told {who}", "{who} knows", "see book", "checked twice", "{who} on shift", "nothing else"]
NAMES = ["Aino", "Bela", "Chidi", "Dora", "Emre", "Farah", "Goran", "Hana"]


def note(draw: random.Random, bad: bool) -> str:
    """One note: one or two things that happened; it is bad when one of them is."""
    happened = [draw.choice(BAD if bad else FINE)]
    if draw.random() < 0.5:
        happened.insert(draw.randrange(2), draw.choice(FINE))
    aside = draw.choice(ASIDES)
    text = "; ".join(happened + ([aside] if aside else []))
    return text.format(
        n=draw.randint(1, 9),
        lot=f"{draw.choice('ABCDEF')}{draw.randint(100, 999)}",
        cold=f"-{draw.randint(18, 24)}.{draw.randint(0, 9)}",
        warm=f"-{draw.randint(2, 11)}.{draw.randint(0, 9)}",
        short=draw.randint(1, 6),
        long=draw.randint(25, 90),
        who=draw.choice(NAMES),
    )


def main() -> None:
    draw = random.Random(1)
    out = csv.writer(sys.stdout)
    out.writerow(["text", "label"])
    for _ in range(500):
        bad = draw.random() < 0.35
        out.writerow([note(draw, bad), "bad" if bad else "ok"])


if __name__ == "__main__":
    main()
