"""Secrets are encrypted at rest, and the key can be changed."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from alerts.keyring import Keyring, new_key
from pipeline.errors import ConfigurationError


def test_a_secret_comes_back_and_is_not_stored_in_the_clear() -> None:
    keyring = Keyring(SecretStr(new_key()))
    token = keyring.encrypt(b"secret" * 5)
    assert b"secret" not in token
    assert keyring.decrypt(token) == b"secret" * 5


def test_a_new_key_in_front_reads_what_the_old_one_wrote() -> None:
    old, new = new_key(), new_key()
    token = Keyring(SecretStr(old)).encrypt(b"secret")
    both = Keyring(SecretStr(f"{new}, {old}"))
    moved = both.reencrypt(token)
    assert Keyring(SecretStr(new)).decrypt(moved) == b"secret"


def test_another_key_is_an_error_that_says_what_to_do() -> None:
    token = Keyring(SecretStr(new_key())).encrypt(b"secret")
    with pytest.raises(ConfigurationError, match="old key"):
        Keyring(SecretStr(new_key())).decrypt(token)


@pytest.mark.parametrize("key", ["", "hidden", "hidden" * 10, "\u00fc"])
def test_what_is_no_key_is_refused_without_printing_it(key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Keyring(SecretStr(key))
    assert "hidden" not in str(caught.value)
