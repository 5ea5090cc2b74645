"""A sample for an endpoint: is it reached, does it take our signature? Sent at once, and kept nowhere."""

from __future__ import annotations

import os

from alerts.caller import Answer, Caller
from alerts.egress import Allowed, parse_url
from alerts.payload import sample_payload
from alerts.webhook import signed_headers


async def send_sample(*, subscription: str, url: str, keys: list[bytes], allowed: Allowed, now_us: int) -> Answer:
    """One attempt with a body of type "test"; `keys` as `subscriptions.keys` gives them. Raises UsageError."""
    target = parse_url(url)
    body = sample_payload(subscription, now_us)
    caller = Caller(allowed)
    try:
        headers = signed_headers(keys, f"msg_test_{os.urandom(12).hex()}", now_us, body)
        return await caller.post(target, headers, body)
    finally:
        await caller.close()
