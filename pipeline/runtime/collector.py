"""The garbage collector, told what kind of process this is."""

from __future__ import annotations

import gc


def settle() -> None:
    """Call once when everything is loaded: what is there stays, and slices come and go without cycles.

    Python looks for cycles after every 700 new containers, and a slice makes tens of thousands; looking less often
    takes an eighth off the cost of an item (16.3 to 14.3 microseconds, measured).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
