"""POST /v1/upload: of several things that are wrong, the one that is told (decision 21)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from commands import authorization, make_key
from conftest import Api, ApiFactory
from images import make_image
from wire import check_refusal, nothing_is_stored

PICTURE = make_image("png", 8, 6)
MB = 1024 * 1024
LIMITS = {"anonymous_file_mb": 1, "file_mb": 1}
PLANS = {"free": {"label": "Free", "uploads_per_month": 1, "storage_mb": 1}}


@dataclass
class Wrong:
    """An upload that may be wrong in every way at once."""

    headers: dict[str, str] | None
    content: bytes = b"no picture"
    filename: str = "a.png"
    field_name: str = "file"
    fields: dict[str, str] = field(default_factory=lambda: {"namespace": "Wrong", "external_id": "taken"})

    def send(self, api: Api) -> Any:
        files = {self.field_name: (self.filename, self.content)}
        return api.client.post("/v1/upload", headers=self.headers, files=files, data=self.fields)


TOO_LARGE = bytes(MB + 1)


def check(api: Api, status: int, code: str, **wrong: Any) -> None:
    check_refusal(Wrong(**wrong).send(api), status, code)


def test_authentication_is_first(start: ApiFactory) -> None:
    api = start(limits=LIMITS, anonymous={"enabled": False})
    check(api, 401, "unauthorized", headers={"Authorization": "Bearer x"}, field_name="other")
    check(api, 401, "unauthorized", headers=None, field_name="other")
    reader = authorization(make_key(api.data_dir, "--read-only"))
    check(api, 403, "forbidden", headers=reader, content=TOO_LARGE)


def test_then_the_rate_limit(start: ApiFactory) -> None:
    api = start(limits={**LIMITS, "anonymous_uploads_per_hour": 1}, anonymous={"storage_mb": 1})
    check(api, 400, "missing_file", headers=None, field_name="other", content=TOO_LARGE)
    check(api, 429, "rate_limited", headers=None, field_name="other", content=TOO_LARGE)


def test_then_a_quota_that_is_exhausted(start: ApiFactory) -> None:
    api = start(limits=LIMITS, plans=PLANS)
    headers = api.new_key()
    assert api.upload(PICTURE, headers).status_code == 201
    check(api, 413, "quota_exceeded", headers=headers, field_name="other", content=TOO_LARGE)


# What is wrong with the request itself, in the order in which it is told.
REQUEST_STEPS: list[tuple[str, int, str, Callable[[Wrong], None]]] = [
    ("missing file", 400, "missing_file", lambda wrong: setattr(wrong, "field_name", "file")),
    ("size", 400, "file_too_large", lambda wrong: setattr(wrong, "content", b"no picture")),
    ("fields", 422, "validation_error", lambda wrong: wrong.fields.pop("namespace")),
    ("duplicate", 409, "duplicate", lambda wrong: wrong.fields.pop("external_id")),
    ("format", 400, "unsupported_format", lambda wrong: setattr(wrong, "content", PICTURE + bytes(MB - 600))),
]


def test_then_what_is_wrong_with_the_request_one_after_the_other(start: ApiFactory) -> None:
    plans = {"free": {"label": "Free", "uploads_per_month": 9, "storage_mb": 1}}
    api = start(limits=LIMITS, plans=plans)
    headers = authorization(make_key(api.data_dir, "--verified", "--plan", "free"))
    assert api.upload(PICTURE, headers, external_id="taken").status_code == 201
    wrong = Wrong(headers, TOO_LARGE, field_name="other")
    for what, status, code, mend in REQUEST_STEPS:
        answer = wrong.send(api)
        assert (answer.status_code, answer.json()["error"]) == (status, code), what
        assert answer.headers["x-monthly-uploads-used"] == "1"
        mend(wrong)
    # Nothing is wrong any more but that it is more than the storage that is left.
    check_refusal(wrong.send(api), 413, "quota_exceeded")
    wrong.content = PICTURE
    assert wrong.send(api).status_code == 201


@pytest.mark.parametrize("with_key", [True, False])
def test_a_missing_file_comes_before_a_wrong_field(api: Api, with_key: bool) -> None:
    headers = api.new_key() if with_key else None
    check(api, 400, "missing_file", headers=headers, filename="")
    assert nothing_is_stored(api)
