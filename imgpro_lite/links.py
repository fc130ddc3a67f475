"""Signed links: a purpose, a payload and an age, that nobody else can make (itsdangerous)."""

import hashlib
from collections.abc import Sequence
from typing import Any

from itsdangerous import BadData, URLSafeSerializer, URLSafeTimedSerializer

# One salt for each purpose, so that a link for one can never serve another (itsdangerous, "The Salt").
UPGRADE = "imgpro-lite.upgrade"
VERIFY = "imgpro-lite.verify"
VERIFY_RESEND = "imgpro-lite.verify-resend"
CURSOR = "imgpro-lite.cursor"

# SHA-256 instead of itsdangerous' default SHA-1.
_SIGNER = {"key_derivation": "hmac", "digest_method": hashlib.sha256}


class InvalidLink(Exception):
    """The token was not made by this server for this purpose, or is too old."""


class Links:
    """Makes and checks tokens. The newest secret, the last one, signs; older ones still verify."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = list(secrets)

    def sign(self, purpose: str, payload: dict[str, Any]) -> str:
        """A token that is safe in a URL's query."""
        return str(self._serializer(purpose).dumps(payload))

    def load(self, purpose: str, token: str, max_age_seconds: int) -> dict[str, Any]:
        """The payload of a token. Raises InvalidLink."""
        try:
            payload = self._serializer(purpose).loads(token, max_age=max_age_seconds)
        except BadData as error:
            raise InvalidLink from error
        if not isinstance(payload, dict):
            raise InvalidLink
        return payload

    def seal(self, purpose: str, payload: dict[str, Any]) -> str:
        """A token that never ends, and of which there is exactly one for a payload."""
        return str(self._sealer(purpose).dumps(payload))

    def unseal(self, purpose: str, token: str) -> dict[str, Any]:
        """The payload of a sealed token. Raises InvalidLink, also for other spellings of the same token."""
        try:
            payload = self._sealer(purpose).loads(token)
        except BadData as error:
            raise InvalidLink from error
        if not isinstance(payload, dict) or token not in self._spellings(purpose, payload):
            raise InvalidLink
        return payload

    def _spellings(self, purpose: str, payload: dict[str, Any]) -> list[str]:
        """The token as each secret would sign it: base64 has several spellings of its last character."""
        return [Links([secret]).seal(purpose, payload) for secret in self._secrets]

    def _sealer(self, purpose: str) -> URLSafeSerializer:
        return URLSafeSerializer(self._secrets, salt=purpose, signer_kwargs=_SIGNER)

    def _serializer(self, purpose: str) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self._secrets, salt=purpose, signer_kwargs=_SIGNER)
