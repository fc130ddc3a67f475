"""The documentation: pages and texts that are made of the OpenAPI document, so that none can contradict another.

What is imported here takes a twentieth of a second, so `docs.py` imports it when somebody first reads.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined

from imgpro_lite.plans import Plan, PlanTable
from imgpro_lite.services.accounts import FREE
from imgpro_lite.settings import Settings
from imgpro_lite.web import api_document
from imgpro_lite.web.api_document import Json
from imgpro_lite.web.api_overlay import Overlay
from imgpro_lite.web.docs_text import DocsText
from imgpro_lite.web.markdown import Article, render
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


class Docs:
    """The documentation of this server. Each part is made when somebody first asks for it, and kept."""

    def __init__(self, settings: Settings, overlays: Iterable[Overlay] = ()) -> None:
        self.settings = settings
        self._overlays = tuple(overlays)
        self.entries = ENTRIES
        self._texts: dict[str, str] = {}
        self._articles: dict[str, Article] = {}

    @cached_property
    def document(self) -> Json:
        """The OpenAPI document."""
        return api_document.build(self.settings, self._overlays)

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
            has_upgrades=any(plans.more_uploads_than(plan) or plans.more_storage_than(plan) for plan in plans.plans),
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
