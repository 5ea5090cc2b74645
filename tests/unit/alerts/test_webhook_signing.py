"""Our signatures are those of Standard Webhooks."""

from __future__ import annotations

import base64
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from alerts.webhook import format_secret, parse_secret, sign, signed_headers
from pipeline.clock import now_us
from pipeline.errors import UsageError
from pipeline.instants import SECOND_US, to_datetime

KEY = bytes(range(32))
OTHER = bytes(range(1, 33))


@given(st.text(max_size=200), st.integers(0, 4_000_000_000))
def test_signatures_equal_those_of_the_reference_library(body: str, timestamp_s: int) -> None:
    body = body.encode("utf-8", "replace").decode()
    moment = to_datetime(timestamp_s * SECOND_US)
    assert moment.tzinfo is UTC
    assert sign(KEY, "msg_1", timestamp_s, body.encode()) == Webhook(format_secret(KEY)).sign("msg_1", moment, body)


def test_the_specified_example() -> None:
    # From the specification's test vector.
    key = parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("key", [KEY, OTHER])
def test_while_a_secret_rotates_both_verify(key: bytes) -> None:
    headers = dict(signed_headers([KEY, OTHER], "msg_1", now_us(), b"{}"))
    Webhook(format_secret(key)).verify(b"{}", headers)


def test_a_changed_body_does_not_verify() -> None:
    headers = dict(signed_headers([KEY], "msg_1", now_us(), b"{}"))
    with pytest.raises(WebhookVerificationError):
        Webhook(format_secret(KEY)).verify(b"{ }", headers)


def test_secrets_are_read_back() -> None:
    assert parse_secret(format_secret(KEY)) == KEY


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_hidden",
        "hidden" * 8,
        "whsec_\u00fc" + "a" * 40,
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
    ],
)
def test_what_is_no_secret_is_refused_without_printing_it(secret: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_secret(secret)
    assert "hidden" not in str(caught.value)
