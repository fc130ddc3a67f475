"""oEmbed (https://oembed.com): what other sites need to show a picture where somebody pastes its page's address."""

import re
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

from starlette.requests import Request
from starlette.responses import Response

from imgpro_lite.errors import NotFound, ValidationFailed
from imgpro_lite.ids import MEDIA_ID_CHARS
from imgpro_lite.models import Media
from imgpro_lite.runtime import Runtime
from imgpro_lite.services.media import get_media
from imgpro_lite.services.showing import Shown, offer, previews
from imgpro_lite.web.cdn import max_age_seconds
from imgpro_lite.web.presenters import picture_stem
from imgpro_lite.web.requests import runtime
from imgpro_lite.web.responses import JsonAnswer
from imgpro_lite.web.snippets import address

VERSION = "1.0"
_MEDIA_ID = re.compile(f"[a-z0-9]{{{MEDIA_ID_CHARS}}}")
_PIXELS = re.compile("[0-9]{1,9}")
_NOT_IN_XML = re.compile("[\ufffe\uffff]")  # the only characters of a name that XML 1.0 cannot have


class XmlAnswer(JsonAnswer):
    """The same fields as XML (oEmbed 1.0, 2.3.4.2). Errors are JSON for everybody."""

    media_type = "text/xml"

    def render(self, content: dict[str, Any]) -> bytes:
        root = ElementTree.Element("oembed")
        for name, value in content.items():
            ElementTree.SubElement(root, name).text = _NOT_IN_XML.sub("", str(value))
        text = ElementTree.tostring(root, "unicode")
        return f'<?xml version="1.0" encoding="utf-8" standalone="yes"?>\n{text}'.encode()


_ANSWERS: dict[str, type[JsonAnswer]] = {"json": JsonAnswer, "xml": XmlAnswer}


async def oembed(request: Request) -> Response:
    """GET /oembed"""
    rt, query = runtime(request), request.query_params
    limits = {name: _limit_px(name, query.get(name)) for name in ("maxwidth", "maxheight")}
    wanted = query.get("url")
    if not wanted:
        raise ValidationFailed({"url": ["is required: the address of an image's page"]})
    answer = _ANSWERS.get(query.get("format") or "json")
    if answer is None:
        raise ValidationFailed({"format": ["must be json or xml"]})
    media = await get_media(rt, None, _media_id(rt, wanted))
    photo = _photo(rt, media, _largest(rt, media, **limits))
    return answer(photo, headers={"Cache-Control": f"public, max-age={photo['cache_age']}"})


def _media_id(rt: Runtime, wanted: str) -> str:
    """The image that a page's address names. Raises NotFound for an address that is none of ours."""
    base, _, media_id = wanted.partition("#")[0].partition("?")[0].rpartition("/")
    if base != rt.public_url or not _MEDIA_ID.fullmatch(media_id):
        raise NotFound("This is not the address of an image's page on this server.")
    return media_id


def _limit_px(name: str, given: str | None) -> int | None:
    if not given:
        return None
    if not _PIXELS.fullmatch(given) or int(given) == 0:
        raise ValidationFailed({name: ["must be a whole number of pixels"]})
    return int(given)


def _largest(rt: Runtime, media: Media, maxwidth: int | None, maxheight: int | None) -> Shown:
    """The largest picture that fits. When none does it is the smallest, to be shown at the width and height that are
    told: the answer may not exceed the limits."""
    for shown in previews(media, offer(rt.settings.imaging, media)):
        if shown.width <= (maxwidth or shown.width) and shown.height <= (maxheight or shown.height):
            return shown
    scale = min((maxwidth or shown.width) / shown.width, (maxheight or shown.height) / shown.height)
    return replace(shown, width=max(1, round(shown.width * scale)), height=max(1, round(shown.height * scale)))


def _photo(rt: Runtime, media: Media, shown: Shown) -> dict[str, str | int]:
    """The answer of type photo (oEmbed 1.0, 2.3.4.1)."""
    return {
        "version": VERSION,
        "type": "photo",
        "title": media.name,
        "url": address(picture_stem(rt.src_url, media), shown.format, shown.size),
        "width": shown.width,
        "height": shown.height,
        "cache_age": max_age_seconds(rt, media),
        "provider_name": urlsplit(rt.public_url).netloc,
        "provider_url": rt.public_url,
    }
