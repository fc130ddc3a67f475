"""Rewriting a stranger's SVG: what is known to be harmless is written out again, everything else is left away.

Nothing of the document is copied as it stands: expat reads it, and what goes out is plain XML in UTF-8 of one kind,
without comments, processing instructions and prefixes of the document's own.
"""

import re
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from imgpro_lite.imaging import svg_names as names
from imgpro_lite.imaging.svg_pictures import without_metadata
from imgpro_lite.imaging.svg_styles import StyleFilter, is_picture

_HREF = "href"
_XLINK_HREF = f"{names.XLINK_NAMESPACE}{names.SEPARATOR}href"
_XML = f"http://www.w3.org/XML/1998/namespace{names.SEPARATOR}"
_XML_ATTRIBUTES = {f"{_XML}{name}": f"xml:{name}" for name in ("space", "lang")}
_XML_ID = f"{_XML}id"
# Attributes of anybody's own. All of the name is looked at: in front of it there may be a namespace, which is any text.
_OF_PROGRAMS = re.compile(r"(?:data|aria)-[\w.-]+")
_DECLARATION = '<?xml version="1.0" encoding="utf-8"?>\n'
_ROOT_NAMESPACES = f' xmlns="{names.SVG_NAMESPACE}" xmlns:xlink="{names.XLINK_NAMESPACE}"'


def rewrite(document: bytes, encoding: str = "UTF-8") -> bytes:
    """The harmless part of a well-formed document whose first element is svg. Raises Refused when its styles are too
    large to look through, expat.ExpatError when it is not well-formed in that encoding."""
    return _Rewriter().rewrite(document, encoding)


class _Rewriter:
    def __init__(self) -> None:
        self._out = [_DECLARATION]
        self._styles = StyleFilter()
        self._open: list[tuple[str, int]] = []  # name, and where its tag is in what goes out
        self._skipped_depth = 0  # inside of an element that is left away
        self._sheet: list[str] | None = None  # the text of the style element that is open

    def rewrite(self, document: bytes, encoding: str) -> bytes:
        parser = expat.ParserCreate(encoding, namespace_separator=names.SEPARATOR)
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.Parse(document, True)
        return "".join(self._out).encode()

    def _start(self, full_name: str, attributes: dict[str, str]) -> None:
        namespace, _, name = full_name.rpartition(names.SEPARATOR)
        if (
            self._skipped_depth
            or self._sheet is not None
            or namespace != names.SVG_NAMESPACE
            or name not in names.ELEMENTS
            or (name in names.ANIMATIONS and not _is_harmless_animation(attributes))
        ):
            self._skipped_depth += 1
            return
        if _XML_ID in attributes:  # means the same, and an element has one
            attributes.setdefault("id", attributes.pop(_XML_ID))
        kept = (self._attribute(name, key, value) for key, value in attributes.items())
        root = "" if self._open else _ROOT_NAMESPACES
        self._out.append(f"<{name}{root}{''.join(kept)}>")
        self._open.append((name, len(self._out) - 1))
        if name == "style":
            self._sheet = []

    def _end(self, _full_name: str) -> None:
        if self._skipped_depth:
            self._skipped_depth -= 1
            return
        if self._sheet is not None:
            self._out.append(escape(self._styles.sheet("".join(self._sheet))))
            self._sheet = None
        name, start = self._open.pop()
        if start == len(self._out) - 1:
            self._out[start] = f"{self._out[start][:-1]}/>"
        else:
            self._out.append(f"</{name}>")

    def _text(self, text: str) -> None:
        if self._skipped_depth:
            return
        if self._sheet is not None:
            self._sheet.append(text)
        else:
            self._out.append(escape(text))

    def _attribute(self, element: str, key: str, value: str) -> str:
        """` name="value"` as it is written, or nothing."""
        if key in (_HREF, _XLINK_HREF):
            url = value.strip()
            if element in names.WITH_PICTURES and is_picture(url):
                url = without_metadata(url)
            elif not url.startswith("#"):
                return ""
            return f" {'href' if key == _HREF else 'xlink:href'}={quoteattr(url)}"
        if key in _XML_ATTRIBUTES:
            return f" {_XML_ATTRIBUTES[key]}={quoteattr(value)}"
        if key in names.PLAIN_ATTRIBUTES or _OF_PROGRAMS.fullmatch(key):
            return f" {key}={quoteattr(value)}"
        return f" {key}={quoteattr(self._styles.value(value))}" if key in names.ATTRIBUTES else ""


def _is_harmless_animation(attributes: dict[str, str]) -> bool:
    """Whether it changes what the document itself could say. Without a name it is the motion or does nothing."""
    return attributes.get("attributeName", "transform").strip() in names.ANIMATABLE
