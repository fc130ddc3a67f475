"""The documentation over HTTP: its pages, its texts, and the page to try the API out."""

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from imgpro_lite.errors import NotFound
from imgpro_lite.services import sessions
from imgpro_lite.settings import Settings
from imgpro_lite.web.api_overlay import Overlay
from imgpro_lite.web.cookies import says_where_from
from imgpro_lite.web.page_answer import PageAnswer, page, pages
from imgpro_lite.web.requests import runtime
from imgpro_lite.web.session import Visit, get_visit

if TYPE_CHECKING:
    from imgpro_lite.web.documentation import Docs

# What answers are made of changes only when the server starts anew with other settings.
_HEADERS = {
    "Cache-Control": "public, max-age=300",
    "X-Content-Type-Options": "nosniff",
    "Access-Control-Allow-Origin": "*",  # for tools in browsers; there is nothing private in them
}


async def docs(request: Request) -> "Docs":
    """The server's documentation, made when somebody first asks for it."""
    state = request.app.state
    if not hasattr(state, "docs"):
        state.docs = await asyncio.to_thread(_make, runtime(request).settings, state.overlays)
    made: Docs = state.docs
    return made


def _make(settings: Settings, overlays: list[Overlay]) -> "Docs":
    from imgpro_lite.web.documentation import Docs

    return Docs(settings, overlays)


async def show_article(request: Request) -> Response:
    """GET /api/{name} and GET /pricing; with `.md` at the end the text itself"""
    made = await docs(request)
    path = request.scope["path"].removeprefix("/")
    entry = next((entry for entry in made.entries if entry.path == path.removesuffix(".md")), None)
    if entry is None:
        raise NotFound("There is nothing at this address.")
    if path.endswith(".md"):
        return _answer(await asyncio.to_thread(made.text, f"{entry.name}.md"), "text/markdown")
    article = await asyncio.to_thread(made.article, entry.name)
    caller = (await get_visit(request)).caller
    about = {"entry": entry, "entries": made.entries, "caller": caller}
    template = f"docs/{'pricing' if entry.name == 'pricing' else 'article'}.html"
    html = pages(request).render(template, {**about, "article": article, "plans": made.plans})
    return PageAnswer(html, policy={"script-src": "'self'"})


async def show_interactive(request: Request) -> Response:
    """GET /api"""
    made = await docs(request)
    visit = await get_visit(request)
    about = {"entry": None, "entries": made.entries, "caller": visit.caller}
    context = {**about, "csrf_token": _csrf_token(request, visit, made.settings)}
    shown = page(request, "docs/interactive.html", context)
    shown.headers["Content-Security-Policy"] = _interactive_policy(made.settings)
    return shown


def _csrf_token(request: Request, visit: Visit, settings: Settings) -> str:
    """What has requests to the API sent as the one who is signed in; nothing where nobody is, or where the API knows
    no sessions: at a host of its own, or when the browser does not say where a request comes from."""
    can_ask = says_where_from(request) and _origin(settings.api_url) == _origin(settings.public_url)
    return sessions.csrf_token(runtime(request), visit.session) if visit.caller and can_ask else ""


def _interactive_policy(settings: Settings) -> str:
    """The viewer runs its own script, draws its own icons, and asks the API and the image bytes of this server."""
    api, src = (_origin(url) for url in (settings.api_url, settings.src_url))
    targets = " ".join(dict.fromkeys(["'self'", api, src]))
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src {targets} data: blob:; "
        f"connect-src {targets}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


async def openapi_yaml(request: Request) -> Response:
    """GET /openapi.yaml"""
    made = await docs(request)
    return _answer(await asyncio.to_thread(lambda: made.openapi_yaml), "application/yaml")  # RFC 9512


async def openapi_json(request: Request) -> Response:
    """GET /openapi.json"""
    made = await docs(request)
    return _answer(to_json(await asyncio.to_thread(lambda: made.document)), "application/json")


async def llms(request: Request) -> Response:
    """GET /llms.txt, which tells language models what there is (https://llmstxt.org)"""
    made = await docs(request)
    return _answer(await asyncio.to_thread(made.text, "llms.txt"), "text/plain")


async def llms_full(request: Request) -> Response:
    """GET /llms-full.txt"""
    made = await docs(request)
    return _answer(await asyncio.to_thread(made.everything), "text/plain")


def _answer(content: str | bytes, media_type: str) -> Response:
    return Response(content, headers=_HEADERS, media_type=media_type)
