"""Random names, from the system's CSPRNG (decision 4).

Every id and hash has at least one digit, so that no page's path (`dashboard`, `pricing`, …) can ever be one.
"""

import hashlib
import secrets
import string

_LOWER = string.ascii_lowercase + string.digits
_BASE62 = string.ascii_letters + string.digits

MEDIA_ID_CHARS = 14  # 72 bits: nobody finds a private image by guessing
TEAM_HASH_CHARS = 5  # 26 bits: short in URLs; uniqueness is checked when a team is made
KEY_ID_CHARS = 8
API_KEY_CHARS = 32  # 190 bits

API_KEY_PREFIX = "img_live_"
KEY_ID_PREFIX = "key_"


def _random(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


def _random_with_digit(length: int) -> str:
    while True:
        text = _random(_LOWER, length)
        if any(char in string.digits for char in text):
            return text


def new_media_id() -> str:
    """An id for an image: 14 of `[a-z0-9]`, unguessable."""
    return _random_with_digit(MEDIA_ID_CHARS)


def new_team_hash() -> str:
    """The part of image URLs that names a team: 5 of `[a-z0-9]`."""
    return _random_with_digit(TEAM_HASH_CHARS)


def new_key_id() -> str:
    """The public name of an API key."""
    return KEY_ID_PREFIX + _random(_LOWER, KEY_ID_CHARS)


def new_api_key() -> str:
    """The secret itself, shown once."""
    return API_KEY_PREFIX + _random(_BASE62, API_KEY_CHARS)


def is_api_key(text: str) -> bool:
    """Whether a text has the form of a key."""
    secret = text.removeprefix(API_KEY_PREFIX)
    return text.startswith(API_KEY_PREFIX) and len(secret) == API_KEY_CHARS and set(secret) <= set(_BASE62)


def is_media_id(text: str) -> bool:
    """Whether a text has the form of an image's id."""
    return _is_name(text, MEDIA_ID_CHARS)


def is_team_hash(text: str) -> bool:
    """Whether a text has the form of a team's hash."""
    return _is_name(text, TEAM_HASH_CHARS)


def _is_name(text: str, length: int) -> bool:
    return len(text) == length and set(text) <= set(_LOWER) and not set(text).isdisjoint(string.digits)


def api_key_sha256(key: str) -> bytes:
    """What is stored of a key. It has 190 random bits, so a plain hash cannot be searched."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def new_token_id() -> str:
    """The name of one signed token that can be used up: 128 bits."""
    return secrets.token_hex(16)


def new_request_id() -> str:
    """The name of one request in the log and in `X-Request-Id`."""
    return secrets.token_hex(8)
