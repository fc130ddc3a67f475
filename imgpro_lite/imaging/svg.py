"""SVG as strangers send it: what is refused, and what is stored.

An SVG is a program for the reader's browser and for librsvg. We refuse what a picture never needs and what makes
parsers misbehave, on the raw bytes, with a streaming parser and in constant memory; then `svg_filter` keeps only the
elements and attributes that are known to be harmless.
"""

import mmap
import os
import re
from collections.abc import Iterator
from xml.parsers import expat

from imgpro_lite.imaging import svg_filter
from imgpro_lite.imaging.jobs import Refused
from imgpro_lite.imaging.svg_names import SEPARATOR, SVG_NAMESPACE

_MAX_ELEMENTS = 50_000  # librsvg takes about 1 KB for each
_MAX_DEPTH = 256  # librsvg and browsers recurse
MAX_SIDE_PX = 16_384  # half of cairo's limit
_MAX_ATTRIBUTES = 1_000  # of one element; there are about 300 kinds
_MAX_ATTRIBUTES_IN_ALL = 500_000  # ten of each element; expat takes 0.3 s for a million

# A tag with more attributes than that. Looked for before expat, which takes two seconds for a million of them.
_LONG_TAG = re.compile(rb"""<(?>[^<>\s]+)(?>\s+[^<>\s=]+\s*=\s*(?:"[^<"]*"|'[^<']*')){%d}""" % (_MAX_ATTRIBUTES + 1))

# Small, because much of what is refused is refused within the first pieces.
_PIECE_BYTES = 256 * 1024

_XINCLUDE_NAMESPACE = "http://www.w3.org/2001/XInclude"
_UTF8_NAMES = ("utf-8", "utf8", "us-ascii", "ascii")
# Older drawing programs wrote it, mostly without any character that is not ASCII. What is stored is UTF-8.
_LATIN1_NAMES = ("iso-8859-1", "latin1", "latin-1")
_DECLARED_LATIN1 = re.compile(
    rb"""<\?xml\s[^<>]*?\sencoding\s*=\s*["'](?:%s)["']""" % "|".join(_LATIN1_NAMES).encode(), re.IGNORECASE
)


def check(descriptor: int) -> None:
    """Raise Refused for an SVG that is not well-formed XML in UTF-8 or Latin-1 with one svg root, or is not wanted."""
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as document:
        parser = _Checker(_encoding(document)).parser
        try:
            for piece in _pieces(document):
                if b"\0" in piece:  # expat would switch to UTF-16 after its byte order mark
                    raise Refused("The SVG must be encoded in UTF-8.")
                if piece.count(b"=") > _MAX_ATTRIBUTES and _LONG_TAG.search(piece):
                    raise Refused(f"The SVG has an element with more than {_MAX_ATTRIBUTES:,} attributes.")
                parser.Parse(piece, False)
            parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise Refused(f"The SVG is not well-formed XML in UTF-8: {error}.") from error


def _encoding(document: bytes | mmap.mmap) -> str:
    """How to read a document. Both readings of it, the check and the filter, do so, whatever it is."""
    return "ISO-8859-1" if _DECLARED_LATIN1.match(document) else "UTF-8"


def _pieces(document: mmap.mmap) -> Iterator[bytes]:
    """The document in order, cut in front of tags, so that each of these is in one piece, however long it is."""
    start = 0
    while start < len(document):
        end = document.rfind(b"<", start + 1, start + _PIECE_BYTES)
        if end == -1:
            end = document.find(b"<", start + _PIECE_BYTES)
        if end == -1 or start + _PIECE_BYTES >= len(document):
            end = len(document)
        yield document[start:end]
        start = end


def sanitise(descriptor: int) -> bytes:
    """The checked document without scripts, event handlers, links, and references to anything outside of it. Raises
    Refused when its styles are too large or too deep to look through."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(os.dup(descriptor), "rb") as file:
        document = file.read()
    try:
        return svg_filter.rewrite(document, _encoding(document))
    except RecursionError as error:  # brackets in a style
        raise Refused("The SVG has styles that are nested too deeply.") from error


class _Checker:
    """Counts elements while expat reads, and stops it at the first thing that is not wanted."""

    def __init__(self, encoding: str) -> None:
        self.elements = 0
        self.depth = 0
        self.attributes = 0
        self.parser = expat.ParserCreate(encoding, namespace_separator=SEPARATOR)
        self.parser.StartElementHandler = self._start_element
        self.parser.EndElementHandler = self._end_element
        self.parser.XmlDeclHandler = self._declaration
        self.parser.StartDoctypeDeclHandler = self._doctype

    def _start_element(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, local_name = name.rpartition(SEPARATOR)
        if self.elements == 0 and (namespace, local_name) != (SVG_NAMESPACE, "svg"):
            raise Refused(f'The document is not an SVG: its first element must be svg with xmlns="{SVG_NAMESPACE}".')
        if namespace == _XINCLUDE_NAMESPACE:
            raise Refused("An SVG with XInclude is not accepted.")
        self.elements += 1
        self.depth += 1
        self.attributes += len(attributes)
        if self.attributes > _MAX_ATTRIBUTES_IN_ALL:
            raise Refused(f"The SVG has more than {_MAX_ATTRIBUTES_IN_ALL:,} attributes.")
        if self.elements > _MAX_ELEMENTS:
            raise Refused(f"The SVG has more than {_MAX_ELEMENTS:,} elements.")
        if self.depth > _MAX_DEPTH:
            raise Refused(f"The SVG has elements nested deeper than {_MAX_DEPTH}.")

    def _end_element(self, _name: str) -> None:
        self.depth -= 1

    def _declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in (*_UTF8_NAMES, *_LATIN1_NAMES):
            raise Refused("The SVG must be encoded in UTF-8.")

    def _doctype(self, *_arguments: object) -> None:
        raise Refused("An SVG with a DOCTYPE is not accepted: please remove the line that starts with <!DOCTYPE.")
