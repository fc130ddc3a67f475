"""The page of an image: the picture, what is known about it, and its address in every size and format."""

import hashlib
import json
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from imgpro_lite.errors import NotFound
from imgpro_lite.formats import Format, parse_extension
from imgpro_lite.models import Ability, Caller, Media
from imgpro_lite.services.media import get_media
from imgpro_lite.services.showing import Offer, Picture, Shown, offer, picture, previews
from imgpro_lite.web.conditions import is_match
from imgpro_lite.web.page_answer import PageAnswer, pages
from imgpro_lite.web.presenters import page_url, picture_stem
from imgpro_lite.web.requests import runtime
from imgpro_lite.web.session import get_visit
from imgpro_lite.web.snippets import address, download_address, snippets

# The same for every reason, so that nobody learns whether there is such an image (decision 30).
NO_SUCH_IMAGE = "There is no image at this address. It may be private, or deleted, or its time is over."

# A page is asked for anew each time, because an image may be deleted, or become private, at any moment.
CACHE_CONTROL = "no-cache"

# How much of the window a picture may take, as in the stylesheet (.stage): browsers choose by it what to load.
STAGE_WIDTH = "76.5rem"
STAGE_HEIGHT_PERCENT = 78
# From so many times its width on a picture is read from top to bottom, like a long screenshot, and not fitted in.
TALL_RATIO = 2.2
TALL_WIDTH = "40rem"
# Fewer pixels fit on a screen without becoming unreadable: even a phone's shows half of each.
TALL_HEIGHT_PX = 1000
# Twitter's least for its large card; in one a smaller picture would be a blur.
CARD_WIDTH_PX, CARD_HEIGHT_PX = 300, 157

_SIZE_LABELS = {"s": "Small", "m": "Medium", "l": "Large", None: "Full"}
_FORMAT_LABELS = {one: one.upper() for one in Format} | {Format.WEBP: "WebP"}


async def show_image(request: Request) -> Response:
    """GET /{media_id}"""
    rt, visitor = runtime(request), await _visitor(request)
    try:
        media = await get_media(rt, visitor, request.path_params["media_id"])
    except NotFound:
        raise NotFound(NO_SUCH_IMAGE) from None
    found = pages(request)
    html = found.render("viewer.html", _context(request, media))
    policy = {"script-src": "'self'", **found.picture_policy}
    if not media.public:  # for its owner alone, and not even for the browser's next user
        return PageAnswer(html, policy=policy)
    etag = hashlib.sha256(html.encode()).hexdigest()[:32]
    is_known = is_match(request.headers.get("if-none-match", ""), etag)
    return PageAnswer(
        "" if is_known else html,
        304 if is_known else 200,
        headers={"ETag": f'"{etag}"'},
        policy=policy,
        cache_control=CACHE_CONTROL,
    )


async def _visitor(request: Request) -> Caller | None:
    """Who is signed in and may see private images of the team; None for everybody else."""
    visit = await get_visit(request)
    return visit.caller if visit.can(Ability.READ) else None


def _context(request: Request, media: Media) -> dict[str, Any]:
    rt = runtime(request)
    offered = offer(rt.settings.imaging, media)
    shown, stem = picture(media, offered), picture_stem(pages(request).src_base, media)
    return {
        "media": media,
        "now": rt.clock.now(),
        "page_url": page_url(rt, media),
        "oembed_url": f"{rt.public_url}/oembed?{urlencode({'url': page_url(rt, media)})}",
        "picture": shown,
        "sources": [(one[-1].media_type, _srcset(stem, one)) for one in shown.lists],
        "fallback_url": address(stem, shown.fallback.format, shown.fallback.size),
        "full_url": address(stem, media.display, None),
        "screen_sizes": _screen_sizes(shown),
        "is_tall": _is_tall(shown),
        "original_url": download_address(stem, media.format, None),
        "format_labels": _FORMAT_LABELS,
        "metadata": [(key, _text(value)) for key, value in media.metadata.items()],
        "preview": (still := previews(media, offered)[0]),
        "twitter_card": _twitter_card(still),
        "preview_url": address(picture_stem(rt.src_url, media), still.format, still.size),
        **_sharing(request, media, offered),
    }


def _sharing(request: Request, media: Media, offered: Offer) -> dict[str, Any]:
    """The sizes and formats on offer, which of them is chosen, and its address in every notation."""
    target = parse_extension(request.query_params.get("format", ""))
    choices = offered.get(target or media.display, offered[media.display])
    wanted = request.query_params.get("size")
    chosen = next((one for one in choices if one.size == wanted), choices[-1])
    stem = picture_stem(runtime(request).src_url, media)
    return {
        "stem": stem,
        "chosen": chosen,
        "chosen_url": download_address(picture_stem(pages(request).src_base, media), chosen.format, chosen.size),
        "sizes": [(one.size or "full", _SIZE_LABELS[one.size], one.size == chosen.size) for one in choices],
        "formats": [(one, _pixels(shown), one is chosen.format) for one, shown in offered.items()],
        "snippets": [(one, one.text(stem, chosen)) for one in snippets(media)],
    }


def _pixels(choices: list[Shown]) -> str:
    """The pixels of every size of a format, for the script of the page: `s 427 320, full 1155 866`."""
    return ", ".join(f"{one.size or 'full'} {one.width} {one.height}" for one in choices)


def _srcset(stem: str, choices: list[Shown]) -> str:
    """The candidates of one format. A single one needs no width: there is nothing to choose."""
    if len(choices) == 1:
        return address(stem, choices[0].format, choices[0].size)
    return ", ".join(f"{address(stem, one.format, one.size)} {one.width}w" for one in choices)


def _is_tall(shown: Picture) -> bool:
    return shown.height > max(shown.width * TALL_RATIO, TALL_HEIGHT_PX)


def _twitter_card(still: Shown) -> str:
    is_large = still.width >= CARD_WIDTH_PX and still.height >= CARD_HEIGHT_PX
    return "summary_large_image" if is_large else "summary"


def _screen_sizes(shown: Picture) -> str:
    """How wide the picture will be, for browsers to choose by."""
    if _is_tall(shown):
        return f"min({shown.width}px, {TALL_WIDTH}, 100vw)"
    fitting_vh = STAGE_HEIGHT_PERCENT * shown.width / shown.height
    return f"min({shown.width}px, {STAGE_WIDTH}, 100vw, {fitting_vh:.1f}vh)"


def _text(value: Any) -> str:
    """A value of the metadata for people."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
