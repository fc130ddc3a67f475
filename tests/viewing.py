"""The page of an image as tests see it: its picture, its addresses in every size and format, and its texts to copy."""

import re
from dataclasses import dataclass
from typing import Any

from conftest import Api
from images import open_image
from pages import OWN_URL, Page

from imgpro_lite.formats import parse_extension, sniff

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; script-src 'self'"
)


@dataclass
class Candidate:
    """A picture that a page says to be at an address: with its width, and where it is told the height."""

    address: str
    width: int
    height: int | None = None


class ImagePage(Page):
    """The page of an image, with the headers that it must have."""

    def __init__(self, answer: Any, policy: str = POLICY) -> None:
        assert answer.status_code == 200, answer.text
        headers = answer.headers
        assert headers["content-type"] == "text/html; charset=utf-8"
        assert headers["content-security-policy"] == policy
        assert headers["cache-control"] == "no-cache"
        assert headers["x-robots-tag"] == "noindex"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "set-cookie" not in headers
        assert "access-control-allow-origin" not in headers
        self.html = answer.text
        self._facts: list[tuple[str, str]] = []
        super().__init__(answer.text)
        assert [name for _, values in self.tags for name in values if name.startswith("on") or name == "style"] == []
        (script,) = self.attributes("script")
        assert re.search(r"/static/viewer\.[0-9a-f]{12}\.js$", str(script["src"]))
        assert {tag for tag, _ in self.tags} & {"iframe", "object", "embed", "style", "svg", "base"} == set()

    def handle_data(self, data: str) -> None:
        super().handle_data(data)
        name, value = self._facts[-1] if self._facts else ("", "")
        if "dt" in self._open:
            self._facts.append((data, ""))
        elif "dd" in self._open:
            self._facts[-1] = (name, f"{value}{data} ")

    @property
    def facts(self) -> dict[str, str]:
        """What is known about the image, by its name on the page."""
        return {name: " ".join(value.split()) for name, value in self._facts}

    @property
    def img(self) -> dict[str, str | None]:
        """The picture itself; the other one on the page is the server's icon."""
        (found,) = [values for values in self.attributes("img") if "fetchpriority" in values]
        return found

    @property
    def kinds(self) -> list[tuple[str | None, list[str]]]:
        """What a browser may choose from, in order: media types, each with its sizes from the smallest on."""
        lists = [(one["type"], one["srcset"]) for one in self.attributes("source")] + [(None, self.img["srcset"])]
        return [(kind, [one.address.rpartition(".")[2] for one in candidates(str(srcset))]) for kind, srcset in lists]

    def shown(self) -> list[Candidate]:
        """Every picture that a browser may load."""
        lists = [str(one["srcset"]) for one in [*self.attributes("source"), self.img]]
        return [one for srcset in lists for one in candidates(srcset)]

    def offered(self) -> list[Candidate]:
        """Every picture that people may download, in the words that the page's script reads."""
        (form,) = [values for values in self.attributes("form") if "data-stem" in values]
        found = []
        for radio in self.attributes("input"):
            if radio.get("name") == "format":
                for pixels in str(radio["data-pixels"]).split(", "):
                    size, width, height = pixels.split(" ")
                    query = "" if size == "full" else f"?size={size}"
                    address = f"{form['data-stem']}.{radio['value']}{query}"
                    found.append(Candidate(address.removeprefix(OWN_URL), int(width), int(height)))
        return found

    def copied(self) -> dict[str, str]:
        """The texts to copy, by their names."""
        fields = [values for values in self.attributes("input") if str(values.get("id")).startswith("copy-")]
        assert all("readonly" in values for values in fields)
        return {str(values["id"]).removeprefix("copy-"): str(values["value"]) for values in fields}

    def meta(self, name: str) -> str:
        """What a preview is made of: `og:image`."""
        (found,) = [one for one in self.attributes("meta") if name in (one.get("property"), one.get("name"))]
        return str(found["content"])

    def link(self, rel: str, media_type: str = "") -> str:
        links = [one for one in self.attributes("link") if one["rel"] == rel]
        (found,) = [one for one in links if not media_type or one.get("type") == media_type]
        return str(found["href"])


def candidates(srcset: str) -> list[Candidate]:
    """The candidates of a srcset. One without a width is the only one."""
    found = []
    for one in srcset.split(", "):
        address, _, width = one.partition(" ")
        found.append(Candidate(address, int(width.removesuffix("w") or 0)))
    return found


def open_page(api: Api, media: dict[str, Any], query: str = "") -> ImagePage:
    """The page of an image that an answer of the API showed."""
    return ImagePage(api.fetch(media["url"] + query))


def check_format(address: str, content: bytes) -> None:
    """The bytes are of the format that the address ends with."""
    assert sniff(content) is parse_extension(address.partition("?")[0].rpartition(".")[2])


def put(api: Api, content: bytes, headers: dict[str, str] | None = None, **fields: str) -> dict[str, Any]:
    """Upload an image that is accepted: what the answer says of it."""
    answer = api.upload(content, headers, **fields)
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def check_pixels(api: Api, announced: list[Candidate]) -> None:
    """Every picture is there, in the format of its extension, and of the size that was announced."""
    assert announced
    for one in announced:
        got = api.client.get(one.address)
        assert got.status_code == 200, one
        check_format(one.address, got.content)
        made = open_image(got.content).autorot()  # as browsers show it
        assert one.width in (0, made.width), one
        assert one.height in (None, made.get_page_height()), one
