"""Encryption of webhook secrets at rest (Fernet: AES-128-CBC and HMAC-SHA256)."""

from __future__ import annotations

from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from pipeline.errors import ConfigurationError

HOW = "make one with: python -c 'from alerts.keyring import new_key; print(new_key())'"


def new_key() -> str:
    """A fresh key, 32 random bytes in base64."""
    return Fernet.generate_key().decode()


class Keyring:
    """Encrypts with the first key, decrypts with any: to change the key, put the new one in front of the old
    one, separated by a comma, re-encrypt (`subscriptions.reencrypt`), then drop the old one."""

    def __init__(self, keys: SecretStr) -> None:
        try:
            fernets = [Fernet(key.strip()) for key in keys.get_secret_value().split(",")]
        except ValueError:
            raise ConfigurationError(f"secret_key is no key of 32 bytes in base64; {HOW}") from None
        self._fernet = MultiFernet(fernets)
        # Signing needs the same few secrets thousands of times a second.
        self._cached = lru_cache(maxsize=10_000)(self._decrypt)

    def encrypt(self, secret: bytes) -> bytes:
        return self._fernet.encrypt(secret)

    def decrypt(self, token: bytes) -> bytes:
        """Raises ConfigurationError when no key fits."""
        return self._cached(token)

    def reencrypt(self, token: bytes) -> bytes:
        """The same secret under the first key."""
        return self._fernet.encrypt(self.decrypt(token))

    def _decrypt(self, token: bytes) -> bytes:
        try:
            return self._fernet.decrypt(token)
        except InvalidToken:
            raise ConfigurationError(
                "a webhook secret was encrypted with another secret_key; put the old key after the new one, "
                "separated by a comma, or rotate the secret of that subscription"
            ) from None
