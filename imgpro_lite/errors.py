"""Every error that a caller can meet, with the code and status that the contract fixes.

    ImgProError
    ├── BadRequest            400 bad_request          the body cannot be parsed
    │   ├── MissingFile       400 missing_file
    │   ├── MissingUrl        400 missing_url
    │   ├── FileTooLarge      400 file_too_large
    │   ├── UnsupportedFormat 400 unsupported_format
    │   └── FetchFailed       400 fetch_failed
    ├── Unauthorized          401 unauthorized
    ├── Forbidden             403 forbidden
    │   ├── KeyLimitReached   403 key_limit_reached
    │   └── RegistrationClosed 403 registration_closed
    ├── NotFound              404 not_found
    ├── MethodNotAllowed      405 method_not_allowed
    ├── RequestTimeout        408 request_timeout      it did not arrive in time
    ├── Duplicate             409 duplicate
    ├── QuotaExceeded         413 quota_exceeded
    ├── UriTooLong            414 uri_too_long
    ├── RangeNotSatisfiable   416 range_not_satisfiable
    ├── ValidationFailed      422 validation_error
    ├── TransformFailed       422 transform_failed
    ├── RateLimited           429 rate_limited
    ├── HeaderTooLarge        431 header_too_large
    ├── InternalError         500 internal_error
    ├── Overloaded            503 overloaded
    └── StorageFull           503 storage_full

A message is read by strangers: it says what happened, which limit, and what to do, and nothing of the inside.
"""

import errno
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from imgpro_lite.models import Media


@dataclass(frozen=True)
class Action:
    """What the client should do next (contract, "Errors")."""

    type: Literal["upgrade", "verify", "wait", "redirect"]
    url: str | None = None
    label: str | None = None
    seconds: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The action with only the fields that are set."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class ImgProError(Exception):
    """An expected refusal. `headers` go out with the answer, `extra` is added to the body."""

    code: ClassVar[str]
    status: ClassVar[int]

    def __init__(
        self,
        message: str,
        *,
        action: Action | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.action = action
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The JSON body of the answer. The fixed fields win over any of `extra`."""
        fixed: dict[str, Any] = {"error": self.code, "message": self.message}
        if self.action is not None:
            fixed["action"] = self.action.as_json()
        return fixed | {name: value for name, value in self.extra.items() if name not in fixed}


class BadRequest(ImgProError):
    """The request cannot be parsed."""

    code = "bad_request"
    status = 400


class MissingFile(BadRequest):
    """No file in the request."""

    code = "missing_file"


class MissingUrl(BadRequest):
    """No URL to import from."""

    code = "missing_url"

    def __init__(self) -> None:
        super().__init__("No URL in the request. Send a JSON object with the image's address as `url`.")


class FileTooLarge(BadRequest):
    """The file exceeds its size limit."""

    code = "file_too_large"


class UnsupportedFormat(BadRequest):
    """Not a picture that is taken: unknown, broken, or larger than can be decoded safely."""

    code = "unsupported_format"


class FetchFailed(BadRequest):
    """The URL could not be fetched. `reason` is for the log: strangers get one sentence for all of them, so that they
    learn nothing about the network that the server is in."""

    code = "fetch_failed"

    def __init__(self, reason: str) -> None:
        super().__init__(
            "The image could not be fetched. The URL must be http or https and lead to an image on the public internet "
            "that anybody can load."
        )
        self.reason = reason


class Unauthorized(ImgProError):
    """Missing or invalid API key."""

    code = "unauthorized"
    status = 401

    def __init__(self, message: str = "Invalid or missing API key") -> None:
        super().__init__(message, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(ImgProError):
    """The key lacks the ability."""

    code = "forbidden"
    status = 403

    def __init__(self, message: str = "Insufficient permissions", *, action: Action | None = None) -> None:
        super().__init__(message, action=action)


class KeyLimitReached(Forbidden):
    """Too many unverified keys for one e-mail address."""

    code = "key_limit_reached"

    def __init__(self, limit: int, action: Action) -> None:
        keys = "1 unverified API key" if limit == 1 else f"{limit} unverified API keys"
        super().__init__(
            f"This e-mail address has {keys}, and no more are possible. Verify the address to create more.",
            action=action,
        )


class RegistrationClosed(Forbidden):
    """New keys are not given out."""

    code = "registration_closed"


class NotFound(ImgProError):
    """It does not exist, or not for this caller."""

    code = "not_found"
    status = 404

    def __init__(self, message: str = "Not found") -> None:
        super().__init__(message)


class MethodNotAllowed(ImgProError):
    """The path exists, but not for this method."""

    code = "method_not_allowed"
    status = 405


class RequestTimeout(ImgProError):
    """The request did not arrive in time; its connection is closed."""

    code = "request_timeout"
    status = 408

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"Connection": "close"})


class Duplicate(ImgProError):
    """The `external_id` belongs to another image of the team, `media`. The answer shows that image too."""

    code = "duplicate"
    status = 409

    def __init__(self, media: Media) -> None:
        super().__init__("An image with this external_id already exists.")
        self.media = media


class RangeNotSatisfiable(ImgProError):
    """The Range header asks for bytes that the file does not have."""

    code = "range_not_satisfiable"
    status = 416

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"The file has {size_bytes} bytes.", headers={"Content-Range": f"bytes */{size_bytes}"})


class QuotaExceeded(ImgProError):
    """The month's uploads or the storage are used up; `quota` says which, for those who count."""

    code = "quota_exceeded"
    status = 413
    quota: Literal["month", "storage"] = "storage"


class UriTooLong(ImgProError):
    """The address has more bytes than any of ours."""

    code = "uri_too_long"
    status = 414


class ValidationFailed(ImgProError):
    """Fields that were understood but are wrong; `errors` maps each to its messages."""

    code = "validation_error"
    status = 422

    def __init__(self, errors: Mapping[str, list[str]]) -> None:
        self.errors = dict(errors)
        named = "; ".join(f"{field}: {messages[0]}" for field, messages in list(self.errors.items())[:3])
        super().__init__(f"The request is not valid. {named}", extra={"errors": self.errors})


class TransformFailed(ImgProError):
    """The picture cannot be made in this size or format."""

    code = "transform_failed"
    status = 422


class RateLimited(ImgProError):
    """Too many attempts in a window."""

    code = "rate_limited"
    status = 429

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(
            message,
            action=Action("wait", seconds=retry_after_seconds),
            headers={"Retry-After": str(retry_after_seconds)},
        )


class HeaderTooLarge(ImgProError):
    """The headers are too many or too long."""

    code = "header_too_large"
    status = 431


class InternalError(ImgProError):
    """A fault of ours. The log has the details under the request's id."""

    code = "internal_error"
    status = 500

    def __init__(self) -> None:
        super().__init__("Something went wrong on the server. Please try again later.")


class Overloaded(ImgProError):
    """More work is waiting than can be done in good time."""

    code = "overloaded"
    status = 503

    def __init__(self, retry_after_seconds: int, message: str = "The server is busy.") -> None:
        super().__init__(
            f"{message} Please try again in {retry_after_seconds} seconds.",
            headers={"Retry-After": str(retry_after_seconds)},
        )


class StorageFull(ImgProError):
    """The disk has no room."""

    code = "storage_full"
    status = 503
    # No room or no inodes, over the user's quota, over the limit of a file's size.
    ERRNOS: ClassVar = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

    def __init__(self, retry_after_seconds: int = 600) -> None:
        super().__init__(
            "The server's disk is full. Nothing was stored; please tell the operator.",
            headers={"Retry-After": str(retry_after_seconds)},
        )


class OperatorError(Exception):
    """Something that only the operator can mend. The command line prints the message and exits, without a traceback."""


class ConfigError(OperatorError):
    """The configuration cannot be used. `problems` has a sentence for each reason, for the operator to read."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))
