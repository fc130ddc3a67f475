"""HTML pages: the templates and static files of the server, and the headers that every page has."""

import asyncio
import functools
import gzip
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

from imgpro_lite.errors import ImgProError, NotFound
from imgpro_lite.links import LINK_SECONDS
from imgpro_lite.services.accounts import FREE
from imgpro_lite.settings import SECONDS_PER_DAY, Settings
from imgpro_lite.web.conditions import is_match, takes_gzip
from imgpro_lite.web.page_text import FILTERS
from imgpro_lite.web.upload_facts import upload_facts

# Titles of pages that show an error, by status.
_TITLES = {
    400: "That did not work",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible here",
    422: "That did not work",
    429: "Please wait a little",
}
_TITLE_OF_OTHERS = "Something went wrong"

STATIC_MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
MIN_GZIP_BYTES = 1024  # what is smaller fits into one packet either way
STATIC_SECONDS = 365 * SECONDS_PER_DAY  # a changed file has another name; a year is the most that RFC 9111 expects
_HASH_CHARS = 12  # enough that two versions of a file never share a name
_IMPORT = b'from "./'  # looked for first: a search of the large script of the documentation takes 20 ms
_IMPORTED = re.compile(rb'(\bfrom "\./)([\w-]+\.js)(?=";)')  # the files that a script of ours imports

# What every page leads to: a name, the path, and the words for people. Whoever is not signed in gets to the images by
# way of the page that signs in.
_NAVIGATION = (
    ("upload", "/", "Upload"),
    ("images", "/dashboard", "Images"),
    ("documentation", "/api/quick-start", "Documentation"),
)
_PRICING = ("pricing", "/pricing", "Pricing")


@dataclass(frozen=True)
class StaticFile:
    """A file that pages use, under a name that changes with its content."""

    name: str
    content: bytes
    media_type: str

    @functools.cached_property
    def gzipped(self) -> bytes:
        """The content as gzip, made once: the script of the documentation takes 0.1 s, and is 0.5 MB instead of 1.7."""
        return gzip.compress(self.content, mtime=0)


class Pages:
    """What pages are made of: templates, static files, and what all of them show. Made once, when the server starts."""

    def __init__(self, settings: Settings, *, is_dev: bool = False) -> None:
        loader = PackageLoader("imgpro_lite.web", "templates")
        self._environment = Environment(
            loader=loader,
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(FILTERS)
        files = _static_files()
        self.static = {file.name: file for file in files.values()}
        public_url = urlsplit(settings.public_url)
        src_url = urlsplit(settings.src_url)
        is_elsewhere = (src_url.scheme, src_url.netloc) != (public_url.scheme, public_url.netloc)
        # Paths and not whole addresses, so that a page also works under a name that the settings do not know.
        self.src_base = settings.src_url if is_elsewhere else src_url.path
        """What the addresses of pictures on a page begin with."""
        self.picture_policy = {"img-src": f"'self' {src_url.scheme}://{src_url.netloc}"} if is_elsewhere else {}
        """What a page's policy needs for pictures, when they have a host of their own."""
        self.base_path = public_url.path
        """What the paths of pages begin with."""
        origin = f"{public_url.scheme}://{public_url.netloc}"
        static_paths = {source: f"{public_url.path}/static/{file.name}" for source, file in files.items()}
        self.elsewhere = {
            "base_path": settings.public_url,
            "static_paths": {source: origin + path for source, path in static_paths.items()},
        }
        """What a page on the host of the API or of image bytes is rendered with: it has neither pages nor files."""
        self.elsewhere_policy = {"style-src": origin, "img-src": origin}
        self._environment.globals.update(
            base_path=self.base_path,
            api_url=settings.api_url,
            src_url=settings.src_url,
            src_base=self.src_base,
            upload=upload_facts(settings),
            is_dev=is_dev,
            site_name=public_url.netloc + public_url.path,
            contact=settings.server.contact,
            link_days=LINK_SECONDS // SECONDS_PER_DAY,
            site_nav=[*_NAVIGATION, *([_PRICING] if _has_plans(settings) else [])],
            static_paths=static_paths,
        )

    def render(self, template: str, context: dict[str, Any]) -> str:
        """A page as HTML. Everything in the context is escaped."""
        return self._environment.get_template(template).render(context)


def _has_plans(settings: Settings) -> bool:
    """Whether there is anything to choose on the page with the prices: a plan beside the one that keys begin with."""
    return any(plan.offered and name != FREE for name, plan in settings.plans.items())


@functools.cache
def _static_files() -> Mapping[str, StaticFile]:
    """The files of the directory `static`, by the name that they have there. They are read once: they are part of the
    program."""
    directory = resources.files("imgpro_lite.web").joinpath("static")
    sources = {source.name: source.read_bytes() for source in directory.iterdir()}
    files: dict[str, StaticFile] = {}

    def take(source: str) -> StaticFile:
        if source not in files:
            stem, _, extension = source.rpartition(".")
            content = sources[source]
            if extension == "js" and _IMPORT in content:  # what a script names comes first, so that its name is known
                content = _IMPORTED.sub(lambda found: found[1] + take(found[2].decode()).name.encode(), content)
            name = f"{stem}.{hashlib.sha256(content).hexdigest()[:_HASH_CHARS]}.{extension}"
            files[source] = StaticFile(name, content, STATIC_MEDIA_TYPES[extension])
        return files[source]

    for source in sources:
        if source.rpartition(".")[2] in STATIC_MEDIA_TYPES:
            take(source)
    return files


class PageAnswer(Response):
    """A page for nobody's cache or search engine, that runs and frames nothing and gives its address to nobody.

    The address holds a token, hence no referrer. `form_targets` are where its forms may lead, beside this server;
    `policy` has directives that replace those of the Content-Security-Policy, or join them.
    """

    media_type = "text/html"

    def __init__(
        self,
        content: str,
        status_code: int = 200,
        headers: dict[str, str] | None = None,
        form_targets: Iterable[str] = (),
        policy: Mapping[str, str] | None = None,
        cache_control: str = "no-store",
    ) -> None:
        directives = {
            "default-src": "'none'",
            "style-src": "'self'",
            "img-src": "'self'",
            "form-action": " ".join(["'self'", *form_targets]),
            "base-uri": "'none'",
            "frame-ancestors": "'none'",
            **(policy or {}),
        }
        fixed = {
            "Cache-Control": cache_control,
            "Content-Security-Policy": "; ".join(f"{name} {sources}" for name, sources in directives.items()),
            "Cross-Origin-Opener-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Robots-Tag": "noindex",
        }
        super().__init__(content, status_code, {**(headers or {}), **fixed})


def pages(request: Request) -> Pages:
    """The server's pages, as app.py put them there."""
    found: Pages = request.app.state.pages
    return found


def page(
    request: Request,
    template: str,
    context: dict[str, Any],
    status_code: int = 200,
    form_targets: Iterable[str] = (),
) -> PageAnswer:
    """A page made of a template."""
    return PageAnswer(pages(request).render(template, context), status_code, form_targets=form_targets)


def error_page(request: Request, error: ImgProError) -> PageAnswer:
    """Any refusal as a page."""
    context = {
        "title": _TITLES.get(error.status, _TITLE_OF_OTHERS),
        "message": error.message,
        "wait_seconds": error.action.seconds if error.action else None,
        "request_id": request.state.request_id,
        "is_ours": error.status >= 500,
    }
    found = pages(request)
    if getattr(request.state, "is_on_pages_host", True):
        return PageAnswer(found.render("error.html", context), error.status, error.headers)
    html = found.render("error.html", {**context, **found.elsewhere})
    return PageAnswer(html, error.status, error.headers, policy=found.elsewhere_policy)


async def static_file(request: Request) -> Response:
    """GET /static/{name}"""
    file = pages(request).static.get(request.path_params["name"])
    if file is None:
        raise NotFound("There is nothing at this address.")
    # Pages are never compressed: what a stranger typed and a token beside it could be told from the length (BREACH).
    # There is nothing secret in these files.
    is_worth_it = len(file.content) >= MIN_GZIP_BYTES
    is_gzip = is_worth_it and takes_gzip(request.headers.get("accept-encoding", ""))
    etag = f"{file.name}-gzip" if is_gzip else file.name
    headers = {
        "Cache-Control": f"public, max-age={STATIC_SECONDS}, immutable",
        "ETag": f'"{etag}"',
        "X-Content-Type-Options": "nosniff",
        **({"Vary": "Accept-Encoding"} if is_worth_it else {}),
    }
    if is_match(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    if is_gzip:
        content = await asyncio.to_thread(lambda: file.gzipped)
        return Response(content, headers={**headers, "Content-Encoding": "gzip"}, media_type=file.media_type)
    return Response(file.content, headers=headers, media_type=file.media_type)
