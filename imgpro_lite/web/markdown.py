"""Markdown as HTML: the texts of the documentation, with links to their headings, and code with colours."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from imgpro_lite.web.samples import API_KEY

# Where a script puts the key that the reader's tab keeps; keys are not known here, only their hashes.
_KEY_SLOT = f"<span data-api-key>{API_KEY}</span>"

# Languages that only some readers want: folded together, so that one example takes one screen.
_FOLDED = {"python": "Python", "javascript": "JavaScript"}


@dataclass(frozen=True)
class Heading:
    """A heading with its place in the page."""

    level: int
    anchor: str
    text: str


@dataclass(frozen=True)
class Article:
    """A text as HTML, without its first heading, which is the title."""

    title: str
    html: Markup
    headings: tuple[Heading, ...]


def render(text: str) -> Article:
    """Markdown with tables. HTML in it is shown and not used."""
    parser = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")
    tokens = parser.parse(text)
    title = tokens[1].content
    headings = []
    for opening, inside in pairwise(tokens):
        if opening.type == "heading_open" and opening.tag != "h1":
            anchor = _anchor(inside.content)
            opening.meta["anchor"] = anchor
            headings.append(Heading(int(opening.tag[1]), anchor, inside.content))
    html = parser.renderer.render(tokens[3:], parser.options, {})
    return Article(title, Markup(html), tuple(headings))  # noqa: S704 (made by the renderer, which escapes)


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


class _Renderer(RendererHTML):
    """HTML in which nothing is wider than the page: tables and code scroll in themselves, with the keyboard too."""

    def heading_open(self, tokens: Sequence[Token], index: int, *_: Any) -> str:
        token = tokens[index]
        return f'<{token.tag} id="{token.meta["anchor"]}">' if "anchor" in token.meta else f"<{token.tag}>"

    def heading_close(self, tokens: Sequence[Token], index: int, *_: Any) -> str:
        token, anchor = tokens[index], tokens[index - 2].meta.get("anchor")
        link = f' <a class="anchor" href="#{anchor}" aria-label="Link to this section">#</a>' if anchor else ""
        return f"{link}</{token.tag}>\n"

    def table_open(self, *_: Any) -> str:
        return '<div class="scroll" tabindex="0"><table>'

    def table_close(self, *_: Any) -> str:
        return "</table></div>\n"

    def fence(self, tokens: Sequence[Token], index: int, *_: Any) -> str:
        language = tokens[index].info.strip()
        coloured = _coloured(tokens[index].content, language).replace(API_KEY, _KEY_SLOT)
        code = f'<div class="code"><pre tabindex="0"><code>{coloured}</code></pre></div>'
        if language in _FOLDED:
            return f'<details class="language"><summary>{_FOLDED[language]}</summary>{code}</details>\n'
        return code + "\n"


def _coloured(code: str, language: str) -> str:
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return str(escape(code))
    coloured: str = highlight(code, lexer, HtmlFormatter(nowrap=True, classprefix="hl-"))
    return coloured
