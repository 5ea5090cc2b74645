"""Signed webhooks by the Standard Webhooks specification (2023): headers and secrets. Pure.

The signature is HMAC-SHA256 over `id.timestamp.body`, written `v1,<base64>`; while a secret rotates there is
one for each secret, newest first, separated by spaces. The id is the same on every attempt; the timestamp is
that of the attempt, so that a receiver can refuse what is old.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from pipeline.errors import UsageError
from pipeline.instants import SECOND_US

PREFIX = "whsec_"
SECRET_BYTES = 32


def format_secret(key: bytes) -> str:
    """How a secret is shown: `whsec_` and base64."""
    return PREFIX + base64.b64encode(key).decode()


def parse_secret(text: str) -> bytes:
    """The key in a secret. Raises UsageError, which never holds the secret."""
    try:
        key = base64.b64decode(text.removeprefix(PREFIX) + "==")
    except (binascii.Error, ValueError):
        raise UsageError("the secret is not base64; write whsec_ and the base64 of 24 to 64 bytes") from None
    if not text.startswith(PREFIX) or not 24 <= len(key) <= 64:
        raise UsageError("a secret is whsec_ and the base64 of 24 to 64 bytes")
    return key


def sign(key: bytes, message_id: str, timestamp_s: int, body: bytes) -> str:
    """One signature of one attempt."""
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def signed_headers(keys: Sequence[bytes], message_id: str, now_us: int, body: bytes) -> list[tuple[str, str]]:
    """The headers of one attempt. `keys`: the newest secret first."""
    timestamp_s = now_us // SECOND_US
    return [
        ("content-type", "application/json"),
        ("user-agent", "Tocsin"),
        ("webhook-id", message_id),
        ("webhook-timestamp", str(timestamp_s)),
        ("webhook-signature", " ".join(sign(key, message_id, timestamp_s, body) for key in keys)),
    ]
