"""Signed links: a purpose, a payload and an age, that nobody else can make (itsdangerous)."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from itsdangerous import BadData, SignatureExpired, TimestampSigner, URLSafeSerializer, URLSafeTimedSerializer

from imgpro_lite.clock import Clock

# One salt for each purpose, so that a link for one can never serve another (itsdangerous, "The Salt").
UPGRADE = "imgpro-lite.upgrade"
VERIFY = "imgpro-lite.verify"
VERIFY_RESEND = "imgpro-lite.verify-resend"
CURSOR = "imgpro-lite.cursor"
SIGN_IN = "imgpro-lite.sign-in"
SESSION = "imgpro-lite.session"
CSRF = "imgpro-lite.csrf"

# SHA-256 instead of itsdangerous' default SHA-1.
_SIGNER = {"key_derivation": "hmac", "digest_method": hashlib.sha256}


# How long a link that was mailed or given out can be used; the issue of a new one is a click away.
LINK_SECONDS = 7 * 86_400

# A link that signs in is asked for by somebody who waits for it.
SIGN_IN_SECONDS = 15 * 60


@dataclass(frozen=True)
class Secret:
    """What signs links. `retired_at` is when another took its place, in Unix seconds; None while none has."""

    text: str
    retired_at: int | None = None

    def is_in_force(self, now: int) -> bool:
        """Whether links that it signed can still be good: it ends when the last of them does."""
        return self.retired_at is None or now <= self.retired_at + LINK_SECONDS


class InvalidLink(Exception):
    """The token was not made by this server for this purpose, or is too old."""


class ExpiredLink(InvalidLink):
    """The token is ours and for this purpose, but too old. `payload` is what it said."""

    def __init__(self, purpose: str, payload: dict[str, Any]) -> None:
        super().__init__()
        self.purpose = purpose
        self.payload = payload


class _Signer(TimestampSigner):
    """Takes the time from the server's clock, so that links age with everything else (decision 50)."""

    def __init__(self, *args: Any, clock: Clock, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clock = clock

    def get_timestamp(self) -> int:
        """Unix time in whole seconds."""
        return self._clock.now()


class Links:
    """Makes and checks tokens. The newest secret, the last, signs; older ones verify while they are in force."""

    def __init__(self, secrets: Sequence[Secret], clock: Clock) -> None:
        self._all_secrets = list(secrets)
        self._clock = clock

    def rotate(self, secrets: Sequence[Secret]) -> None:
        """Take up the secrets after the operator has changed them."""
        self._all_secrets = list(secrets)

    @property
    def _secrets(self) -> list[str]:
        now = self._clock.now()
        return [secret.text for secret in self._all_secrets if secret.is_in_force(now)]

    def sign(self, purpose: str, payload: dict[str, Any]) -> str:
        """A token that is safe in a URL's query."""
        return str(self._serializer(purpose).dumps(payload))

    def load(self, purpose: str, token: str, max_age_seconds: int = LINK_SECONDS) -> dict[str, Any]:
        """The payload of a token. Raises ExpiredLink when it is only too old, else InvalidLink."""
        try:
            payload = self._serializer(purpose).loads(token, max_age=max_age_seconds)
        except SignatureExpired as error:
            raise self._expired(purpose, error) from error
        except BadData as error:
            raise InvalidLink from error
        if not isinstance(payload, dict):
            raise InvalidLink
        return payload

    def _expired(self, purpose: str, error: SignatureExpired) -> InvalidLink:
        """Too old, or from the future: then the clock was set back, or nobody can say how old it is."""
        assert error.date_signed is not None
        assert error.payload is not None
        if error.date_signed.timestamp() > self._clock.now():
            return InvalidLink()
        return ExpiredLink(purpose, self._sealer(purpose).load_payload(error.payload))

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
        return [str(_sealer([secret], purpose).dumps(payload)) for secret in self._secrets]

    def _sealer(self, purpose: str) -> URLSafeSerializer:
        return _sealer(self._secrets, purpose)

    def _serializer(self, purpose: str) -> URLSafeTimedSerializer:
        kwargs = {**_SIGNER, "clock": self._clock}
        return URLSafeTimedSerializer(self._secrets, salt=purpose, signer=_Signer, signer_kwargs=kwargs)


def _sealer(secrets: list[str], purpose: str) -> URLSafeSerializer:
    return URLSafeSerializer(secrets, salt=purpose, signer_kwargs=_SIGNER)
