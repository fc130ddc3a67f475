"""The mail of dev mode as JSON: listed, waited for, read and removed."""

import math
from typing import Annotated

from pydantic import BeforeValidator
from starlette.requests import Request
from starlette.responses import Response

from imgpro_lite.bodies import Fields, parse
from imgpro_lite.dev import mail_pages
from imgpro_lite.dev.mailbox import mailbox
from imgpro_lite.dev.mails import Mail, MailFilter
from imgpro_lite.errors import NotFound, ValidationFailed
from imgpro_lite.store.mail_rows import MailKind
from imgpro_lite.web.page_forms import MAX_FORM_BYTES
from imgpro_lite.web.requests import ends_with_client, read_body
from imgpro_lite.web.responses import JsonAnswer

MAX_WAIT_SECONDS = 60  # a test that waits longer has hung
MAX_NAMED_MAILS = 5  # in a refusal; enough to see what went wrong
# `imgpro-lite mail test` writes one that is never queued.
KINDS = (*(kind.value for kind in MailKind), "test")


def _check_kind(value: str) -> str:
    if value not in KINDS:
        raise ValueError(f"must be one of {', '.join(KINDS)}")
    return value


def _check_wait(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= MAX_WAIT_SECONDS:  # nothing is between with NaN
        raise ValueError(f"must be a number of seconds, at most {MAX_WAIT_SECONDS}")
    return seconds


class OutboxFields(Fields):
    """The query of GET /_dev/outbox."""

    to: str | None = None
    subject: str | None = None
    kind: Annotated[str | None, BeforeValidator(_check_kind)] = None
    after: str | None = None
    wait_seconds: Annotated[float, BeforeValidator(_check_wait)] = 0.0

    @property
    def filter(self) -> MailFilter:
        return MailFilter(**self.model_dump(exclude={"wait_seconds"}))


async def list_mails(request: Request) -> Response:
    """GET /_dev/outbox: JSON, or a page for browsers"""
    mail_pages.prefer_page(request)
    wanted = _read_query(request)
    box = mailbox(request)
    if wanted.after is not None and await box.find_raw(wanted.after) is None:
        raise ValidationFailed({"after": ["is not the id of a mail that is there"]})
    await read_body(request, MAX_FORM_BYTES)  # none, but only after it can it be seen that the client has gone
    async with ends_with_client(request):
        found, mails = await box.wait_for(wanted.filter, wanted.wait_seconds)
    if not found and wanted.wait_seconds:
        raise NotFound(_nothing_came(wanted, mails))
    if mail_pages.is_page(request):
        return mail_pages.show_mails(request, found)
    return JsonAnswer({"mails": [mail.as_json() for mail in found]})


def _read_query(request: Request) -> OutboxFields:
    """Empty parameters count as left out, as forms send them. Raises ValidationFailed, for unknown names too."""
    given = request.query_params.multi_items()
    names = [name for name, _ in given]
    repeated = {name: ["was given more than once"] for name in names if names.count(name) > 1}
    return parse(OutboxFields, {name: value for name, value in given if value}, repeated)


def _nothing_came(wanted: OutboxFields, mails: list[Mail]) -> str:
    """What was waited for in vain, and what there is instead."""
    asked = wanted.model_dump(exclude={"wait_seconds"}, exclude_none=True)
    what = "".join(f" {name}={value!r}" for name, value in asked.items())
    message = f"No mail{' with' if what else ''}{what} came in {wanted.wait_seconds:g} seconds."
    if not mails:
        return f"{message} There is no mail at all."
    shown = "; ".join(f"{mail.kind} to {mail.to}: {mail.subject}" for mail in mails[-MAX_NAMED_MAILS:])
    return f"{message} There is other mail ({len(mails)}), the latest: {shown}."


async def get_mail(request: Request) -> Response:
    """GET /_dev/outbox/{mail_id}: JSON, or a page for browsers"""
    mail_pages.prefer_page(request)
    mail = await _get_mail(request)
    return mail_pages.show_mail(request, mail) if mail_pages.is_page(request) else JsonAnswer(mail.as_json())


async def get_raw_mail(request: Request) -> Response:
    """GET /_dev/outbox/{mail_id}.eml"""
    content = await mailbox(request).find_raw(request.path_params["mail_id"])
    if content is None:
        raise _no_such_mail()
    return Response(content, headers={"Cache-Control": "no-store"}, media_type="message/rfc822")


async def get_html_of_mail(request: Request) -> Response:
    """GET /_dev/outbox/{mail_id}.html"""
    return mail_pages.show_html(request, await _get_mail(request))


async def clear_outbox(request: Request) -> Response:
    """DELETE /_dev/outbox"""
    await mailbox(request).remove_all()
    return Response(status_code=204)


async def delete_mail(request: Request) -> Response:
    """DELETE /_dev/outbox/{mail_id}"""
    if not await mailbox(request).remove(request.path_params["mail_id"]):
        raise _no_such_mail()
    return Response(status_code=204)


async def _get_mail(request: Request) -> Mail:
    mail = await mailbox(request).find_mail(request.path_params["mail_id"])
    if mail is None:
        raise _no_such_mail()
    return mail


def _no_such_mail() -> NotFound:
    return NotFound("There is no such mail.")
