"""`tocsin up` killed with SIGKILL at random moments while items are pushed: nothing lost, nothing twice."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter

from upper import (
    SEED,
    Upper,
    delivered,
    heartbeat,
    oracle,
    push_all,
    pushes,
    reachable,
    transitions_of_a_straight_run,
    wait_until,
)

from alerts.receiver import Receiver
from pipeline.detect.digest import digest

KILLS = 20
MINUTES = 240


def test_twenty_kills_lose_nothing_and_repeat_nothing(up: Upper) -> None:
    draw = random.Random(SEED)
    made = pushes(draw, MINUTES)
    answered: dict[str, int] = {}
    with Receiver() as receiver:
        up.start()
        wait_until(lambda: reachable(up.url))
        subscription = json.loads(up.command("subscribe", receiver.url("/hook"), "--json"))
        receiver.secrets["/hook"] = subscription["secret"]
        load = threading.Thread(target=push_all, args=(up.url, made, draw, 0.25, answered), daemon=True)
        load.start()
        for _ in range(KILLS):
            wait_until(lambda: reachable(up.url))
            time.sleep(draw.uniform(0.0, 1.5))  # the random moment
            up.kill()
            up.start()
        load.join(timeout=180)
        assert not load.is_alive()
        wait_until(lambda: reachable(up.url))
        heartbeat(up.url, MINUTES)
        wait_until(lambda: up.status()["waiting"] == 0)
        wait_until(lambda: delivered(up))
        status = up.status()
        assert up.stop() == 0
        up.command("replay", "--recorded")  # fails unless replay equals live

    expected = oracle(made)
    assert {fate: status[fate] for fate in expected} == dict(expected)
    assert status["accepted"] == sum(answered.values()) == sum(expected.values())

    stored, deliveries = up.stored()
    straight = transitions_of_a_straight_run(up.data)
    assert sum(t.state == "opened" for t in straight) >= 3
    assert digest(stored) == digest(straight)
    places = Counter((d.alert_id, d.sequence) for d in deliveries)
    assert set(places) == {(t.id, t.sequence) for t in straight}
    assert set(places.values()) == {1}
    assert {one.webhook_id for one in receiver.received} == {d.id for d in deliveries}
    assert all(one.verified for one in receiver.received)
    bodies = {one.webhook_id: one.body for one in receiver.received}
    assert all(one.body == bodies[one.webhook_id] for one in receiver.received)
