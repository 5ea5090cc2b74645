"""Sources that are down: told once after a minute, once more when they work."""

from __future__ import annotations

from pipeline.runtime.outages import Outage, OutageWatch

SECOND_US = 1_000_000


def watch() -> OutageWatch:
    return OutageWatch(frozenset({"s/a", "s/b"}))


def news(outages: OutageWatch, failing: dict[int, set[str]], seconds: int) -> dict[int, list[Outage]]:
    """What is told in each second; `failing` says from when on which ones fail."""
    found: dict[int, list[Outage]] = {}
    now: set[str] = set()
    for second in range(seconds):
        now = failing.get(second, now)
        if told := outages.look(now, second * SECOND_US, second):
            found[second] = told
    return found


def test_a_source_that_fails_for_a_minute_is_told_once_and_once_more_when_it_works() -> None:
    assert news(watch(), {10: {"s/b"}, 200: set()}, 300) == {
        60: [Outage("s/a", 60 * SECOND_US, over=True)],  # a process before this one may have said that it is down
        70: [Outage("s/b", 10 * SECOND_US, over=False)],
        200: [Outage("s/b", 10 * SECOND_US, over=True)],
    }


def test_a_source_that_fails_now_and_then_is_not_down() -> None:
    failing: dict[int, set[str]] = {second: {"s/b"} if second % 50 else set() for second in range(300)}
    told = [one for ones in news(watch(), failing, 300).values() for one in ones]
    assert [one for one in told if not one.over] == []


def test_a_source_that_is_down_at_the_start_is_not_told_to_work() -> None:
    told = [one for ones in news(watch(), {0: {"s/b"}}, 300).values() for one in ones]
    assert [one for one in told if one.partition == "s/b"] == [Outage("s/b", 0, over=False)]


def test_a_wall_clock_that_is_set_back_hides_no_outage() -> None:
    outages = watch()
    outages.look({"s/b"}, 7200 * SECOND_US, 0)
    assert outages.look({"s/b"}, 60 * SECOND_US, 60) == [
        Outage("s/a", 60 * SECOND_US, over=True),
        Outage("s/b", 7200 * SECOND_US, over=False),
    ]
