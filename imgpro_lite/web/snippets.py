"""The address of a picture as people paste it elsewhere: alone, or in Markdown, HTML and BBCode."""

import re
from dataclasses import dataclass
from html import escape

from imgpro_lite.formats import Format
from imgpro_lite.models import Media
from imgpro_lite.services.showing import Shown

# What has a meaning in the text of a Markdown link (CommonMark 0.31, 6: code, emphasis, links, HTML, entities).
_MARKDOWN = re.compile(r"[\\`*_\[\]<>&]")


@dataclass(frozen=True)
class Snippet:
    """A notation: what stands before the address and after it. In `after`, {w} and {h} stand for width and height."""

    name: str
    label: str
    before: str = ""
    after: str = ""

    def text(self, stem: str, shown: Shown) -> str:
        """The notation of one picture. `stem` is its whole address up to the extension."""
        after = self.after.replace("{w}", str(shown.width)).replace("{h}", str(shown.height))
        return f"{self.before}{address(stem, shown.format, shown.size)}{after}"


def address(stem: str, target: Format, size: str | None) -> str:
    """Where the bytes of one format and size are."""
    return f"{stem}.{target}?size={size}" if size else f"{stem}.{target}"


def download_address(stem: str, target: Format, size: str | None) -> str:
    """The same, for a browser to save under the image's name instead of showing it, whatever host it is on."""
    return f"{address(stem, target, size)}{'&' if size else '?'}download"


def snippets(media: Media) -> list[Snippet]:
    """Every notation for an image. Its name is whatever a stranger typed, so it is escaped as each notation has it."""
    alt = _MARKDOWN.sub(r"\\\g<0>", media.name)
    return [
        Snippet("link", "Link to the picture"),
        Snippet("markdown", "Markdown", f"![{alt}](", ")"),
        Snippet("html", "HTML", f'<img alt="{escape(media.name)}" src="', '" width="{w}" height="{h}">'),
        Snippet("bbcode", "BBCode", "[img]", "[/img]"),
    ]
