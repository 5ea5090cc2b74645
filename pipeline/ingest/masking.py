"""Masking: personal data and secrets leave the text before it goes beyond the raw log.

E-mail addresses, telephone numbers and access tokens always; IP addresses when the stream says so. Each is
replaced by a name in brackets, so that a reader sees that something stood there and the classifier keeps the
shape of the sentence. No pattern can match one text in two ways: hostile text costs linear time.
"""

from __future__ import annotations

import re

_EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")

# International (ITU-T E.164: 7 to 15 digits), North American, or a trunk zero with separators. Plain runs of digits
# are left alone: in logs they are counters, and dates and times must survive ("+1000 2005" ends one).
# One of the hints is in every number that they match, and in few other texts. The second is three digits, separators,
# three digits; so written, it is found three times as fast.
_PLUS_HINT = re.compile(r"\+[1-9]")
_DIGITS_HINT = re.compile(r"\d(?<=\d\d\d)[-. )/]{1,2}\d{3}")
_PHONE = re.compile(
    r"(?<![\w/.:+-])(?:"
    r"\+(?!1[0-4][0-5]0 \d{4}\b)[1-9](?:[ .\-/()]{0,2}\d){6,14}"
    r"|\(\d{3}\) ?\d{3}[-. ]\d{4}"
    r"|\d{3}[-.]\d{3}[-.]\d{4}"
    r"|0\d{2,4}[ /]\d{3,4}[ -]?\d{3,5}"
    r")(?![\w-]|[.:]\d)"
)

_TOKEN_HINTS = ("bearer", "basic ", "passw", "secret", "token", "key", "akia", "gh", "eyj", "xox", "sk-", "whsec_")
_TOKEN = re.compile(
    r"(?P<name>\b(?:(?:access|auth|api|client|refresh|secret|session|private)[_-]?)?"
    r"(?:token|secret|passw(?:or)?d|passwd|api_?key|key)[\"']?\s{0,3}[=:]\s{0,3}[\"']?(?:(?:bearer|basic)\s{1,3})?+)"
    r"(?!<|\[)[^\s\"',;&]{6,}"
    r"|(?P<scheme>\b(?:bearer|basic)\s{1,3})[a-z0-9._~+/=-]{12,}"
    r"|\b(?:akia|asia)[a-z0-9]{16}\b"
    r"|\bgh[pousr]_[a-z0-9]{20,}"
    r"|\bgithub_pat_[a-z0-9_]{20,}"
    r"|\bxox[abprs]-[a-z0-9-]{10,}"
    r"|\bsk-[a-z0-9_-]{16,}"
    r"|\bwhsec_[a-z0-9+/=]{16,}"
    # Possessive, and begun only where a word of these characters begins: else "eyJ-eyJ-..." is read from each of them.
    r"|(?<![\w-])eyj[a-z0-9_-]{8,}+\.[a-z0-9_-]{2,}+\.[a-z0-9_-]*+",
    re.IGNORECASE,
)

_IPV4 = r"\d{1,3}(?:\.\d{1,3}){3}"
_HEX = r"[0-9a-f]{1,4}"
# IPv6 is eight groups, or has a "::" (RFC 4291 section 2.2): three groups are a time of day. "15.42.53.276" after a
# date is one as well.
_IP = re.compile(
    rf"(?<![\w.])(?<!\d-){_IPV4}(?!\w|\.\d)"
    rf"|(?<![\w.:])(?:{_HEX}(?::{_HEX}){{7}}"
    rf"|(?:{_HEX}(?::{_HEX}){{0,6}})?::(?:{_HEX}:){{0,6}}(?:{_IPV4}|{_HEX}))(?![\w:]|\.\d)",
    re.IGNORECASE,
)


def _hide_token(found: re.Match[str]) -> str:
    return f"{found['name'] or found['scheme'] or ''}[token]"


def mask(text: str, *, ip: bool = False) -> str:
    """`text` with e-mail addresses, telephone numbers, access tokens and, with `ip`, IP addresses replaced.

    Masking a masked text changes nothing.
    """
    # Cheap tests first: most texts hold none of these, and this runs for every item.
    lowered = text.lower()
    for hint in _TOKEN_HINTS:
        if hint in lowered:
            text = _TOKEN.sub(_hide_token, text)
            break
    if "@" in text:
        text = _EMAIL.sub("[email]", text)
    if ip:
        text = _IP.sub("[ip]", text)
    if ("+" in text and _PLUS_HINT.search(text)) or _DIGITS_HINT.search(text):
        text = _PHONE.sub("[phone]", text)
    return text
