"""How much of the worker one endpoint may have at once. Pure: monotonic seconds are arguments.

A new endpoint begins with a small window of concurrent attempts, which doubles with each prompt success and
falls to one with a failure. After `OPEN_AFTER` failures in a row the circuit opens: nothing is sent for a
while, then a single attempt probes; a success closes it. So an endpoint that is dead or hangs holds a slot now
and then, and the others never wait for it. What waits meanwhile is not an attempt and spends none.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_WINDOW = 2
MAX_WINDOW = 32
OPEN_AFTER = 5
#: Seconds that the circuit stays open: doubled with each failed probe.
FIRST_PAUSE_S = 5.0
MAX_PAUSE_S = 60.0
#: A success that took longer opens the window no further: it may be a receiver that drips bytes.
PROMPT_S = 2.0


@dataclass(slots=True)
class Circuit:
    """The state of one endpoint. `closed_to_s`: nothing is sent before."""

    window: int = FIRST_WINDOW
    failures: int = 0
    in_flight: int = 0
    closed_to_s: float = 0.0

    def free(self, now_s: float) -> int:
        """How many attempts may begin now."""
        if now_s < self.closed_to_s:
            return 0
        return max(0, self.window - self.in_flight)

    def began(self) -> None:
        self.in_flight += 1

    def ended(self, *, success: bool, duration_s: float, asked_s: float, now_s: float) -> None:
        """`asked_s`: the receiver wants no request for so long (Retry-After); 0 when it did not say."""
        self.in_flight -= 1
        if success:
            self.failures = 0
            self.closed_to_s = 0.0
            if duration_s <= PROMPT_S:
                self.window = min(MAX_WINDOW, self.window * 2)
            return
        self.window = 1
        if now_s < self.closed_to_s:
            return  # it was under way when the circuit opened: the same trouble, not another
        self.failures += 1
        pause_s = min(asked_s, MAX_PAUSE_S)
        if self.failures >= OPEN_AFTER:
            doublings = min(self.failures - OPEN_AFTER, 10)
            pause_s = max(pause_s, min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0**doublings))
        self.closed_to_s = now_s + pause_s
