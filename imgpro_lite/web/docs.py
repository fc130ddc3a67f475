"""The documentation: pages and texts that are made of the OpenAPI document, so that none can contradict another."""

import asyncio
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from imgpro_lite.errors import NotFound
from imgpro_lite.plans import Plan, PlanTable
from imgpro_lite.services.accounts import FREE
from imgpro_lite.settings import Settings
from imgpro_lite.web import api_document
from imgpro_lite.web.api_document import API_KEY, Json
from imgpro_lite.web.docs_text import DocsText
from imgpro_lite.web.markdown import Article, render
from imgpro_lite.web.page_answer import page
from imgpro_lite.web.page_text import FILTERS


@dataclass(frozen=True)
class Entry:
    """A page of the documentation. Its text is the template `docs/{name}.md`."""

    name: str
    path: str
    title: str
    about: str


ENTRIES = (
    Entry("quick-start", "api/quick-start", "Quick start", "a key, an upload and a resized picture in three requests"),
    Entry("reference", "api/reference", "Reference", "every request with its fields, answers and errors"),
    Entry("errors", "api/errors", "Errors", "every error code, and what to do about it"),
    Entry("ai-agents", "api/ai-agents", "AI agents", "rules and examples for programs that act for somebody"),
    Entry("pricing", "pricing", "Pricing", "the plans of this server and their limits"),
)

# What answers are made of changes only when the server starts anew with other settings.
_HEADERS = {
    "Cache-Control": "public, max-age=300",
    "X-Content-Type-Options": "nosniff",
    "Access-Control-Allow-Origin": "*",  # for tools in browsers; there is nothing private in them
}


class Docs:
    """The documentation of this server. Each part is made when somebody first asks for it, and kept."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._texts: dict[str, str] = {}
        self._articles: dict[str, Article] = {}

    @cached_property
    def document(self) -> Json:
        """The OpenAPI document."""
        return api_document.build(self.settings)

    @cached_property
    def openapi_yaml(self) -> str:
        return api_document.as_yaml(self.document)

    @cached_property
    def _environment(self) -> Environment:
        # Markdown, not HTML: what is in it becomes HTML, and is escaped, in `markdown.render`.
        environment = Environment(
            loader=PackageLoader("imgpro_lite.web", "templates"),
            autoescape=False,  # noqa: S701
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.filters.update(FILTERS)
        environment.filters.update(DocsText(self.document).filters)
        plans, errors = PlanTable.from_settings(self.settings.plans), self.document["x-errors"]
        environment.globals.update(
            api_document.facts(self.settings),
            base_path=self.settings.public_url,
            articles=ENTRIES,
            document=self.document,
            operations={operation.id: operation for operation in api_document.operations(self.document)},
            errors=errors,
            everywhere=[code for code, error in errors.items() if error.get("everywhere")],
            plans=self.plans,
            free=plans.get(FREE),
        )
        return environment

    @property
    def plans(self) -> list[Plan]:
        """The plans on offer. That of the operator's own keys is none of them."""
        return [plan for plan in PlanTable.from_settings(self.settings.plans).plans if plan.offered]

    def text(self, template: str) -> str:
        """A text as it is written, which is Markdown."""
        if template not in self._texts:
            self._texts[template] = self._environment.get_template(f"docs/{template}").render()
        return self._texts[template]

    def article(self, name: str) -> Article:
        """A text as HTML."""
        if name not in self._articles:
            # Paths and not whole addresses, so that a page also works under a name that the settings do not know.
            public_url = self.settings.public_url
            text = self.text(f"{name}.md").replace(f"]({public_url}/", f"]({urlsplit(public_url).path}/")
            self._articles[name] = render(text)
        return self._articles[name]

    def everything(self) -> str:
        """All texts, one after the other."""
        return "\n\n".join([self.text("llms.txt"), *(self.text(f"{entry.name}.md") for entry in ENTRIES)])


def docs(request: Request) -> Docs:
    """The server's documentation, as app.py put it there."""
    found: Docs = request.app.state.docs
    return found


def api_key_of(request: Request) -> str:
    """The API key that examples have: the caller's own where somebody is signed in, else a word that stands for it."""
    return API_KEY


async def show_article(request: Request) -> Response:
    """GET /api/{name} and GET /pricing; with `.md` at the end the text itself"""
    path = request.scope["path"].removeprefix("/")
    entry = next((entry for entry in ENTRIES if entry.path == path.removesuffix(".md")), None)
    if entry is None:
        raise NotFound("There is nothing at this address.")
    if path.endswith(".md"):
        return await _text(request, f"{entry.name}.md", "text/markdown")
    article = await asyncio.to_thread(docs(request).article, entry.name)
    html = article.html.replace(API_KEY, api_key_of(request))
    context = {"entry": entry, "entries": ENTRIES, "article": article, "html": html, "plans": docs(request).plans}
    return page(request, f"docs/{'pricing' if entry.name == 'pricing' else 'article'}.html", context)


async def show_interactive(request: Request) -> Response:
    """GET /api"""
    context = {"entry": None, "entries": ENTRIES, "api_key": api_key_of(request)}
    shown = page(request, "docs/interactive.html", context)
    shown.headers["Content-Security-Policy"] = _interactive_policy(docs(request).settings)
    return shown


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
    text = await asyncio.to_thread(lambda: docs(request).openapi_yaml)
    return Response(text, headers=_HEADERS, media_type="application/yaml")  # RFC 9512


async def openapi_json(request: Request) -> Response:
    """GET /openapi.json"""
    document = await asyncio.to_thread(lambda: docs(request).document)
    return Response(to_json(document), headers=_HEADERS, media_type="application/json")


async def llms(request: Request) -> Response:
    """GET /llms.txt, which tells language models what there is (https://llmstxt.org)"""
    return await _text(request, "llms.txt", "text/plain")


async def llms_full(request: Request) -> Response:
    """GET /llms-full.txt"""
    text = await asyncio.to_thread(docs(request).everything)
    return Response(text, headers=_HEADERS, media_type="text/plain")


async def _text(request: Request, template: str, media_type: str) -> Response:
    text = await asyncio.to_thread(docs(request).text, template)
    return Response(text, headers=_HEADERS, media_type=media_type)
