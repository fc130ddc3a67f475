"""SVG as strangers send it: what is refused, and what is stored.

An SVG is a program for the reader's browser and for librsvg. We refuse what a picture never needs and what makes
parsers misbehave, on the raw bytes, with a streaming parser and in constant memory; then `svg_filter` keeps only the
elements and attributes that are known to be harmless.
"""

import mmap
import os
import re
from xml.parsers import expat

from imgpro_lite.imaging import svg_filter
from imgpro_lite.imaging.jobs import Refused
from imgpro_lite.imaging.svg_names import SVG_NAMESPACE

_MAX_ELEMENTS = 50_000  # librsvg takes about 1 KB for each
_MAX_DEPTH = 256  # librsvg and browsers recurse
MAX_SIDE_PX = 16_384  # half of cairo's limit
_MAX_ATTRIBUTES = 1_000  # of one element; there are about 300 kinds

# A tag with more attributes than that. Looked for before expat, which takes two seconds for a million of them.
_LONG_TAG = re.compile(rb"""<(?>[^<>\s]+)(?>\s+[^<>\s=]+\s*=\s*(?:"[^<"]*"|'[^<']*')){%d}""" % (_MAX_ATTRIBUTES + 1))

# Large, because expat starts a tag again with every chunk until it is complete: an embedded picture is one attribute.
_CHUNK_BYTES = 1024 * 1024

_XINCLUDE_NAMESPACE = "http://www.w3.org/2001/XInclude"
_UTF8_NAMES = ("utf-8", "utf8", "us-ascii", "ascii")


def check(descriptor: int) -> None:
    """Raise Refused for an SVG that is not well-formed UTF-8 XML with one svg root, or is not wanted."""
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as document:
        if _LONG_TAG.search(document):
            raise Refused(f"The SVG has an element with more than {_MAX_ATTRIBUTES:,} attributes.")
    parser = _Checker().parser
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        while chunk := os.read(descriptor, _CHUNK_BYTES):
            if b"\0" in chunk:  # expat would switch to UTF-16 after its byte order mark
                raise Refused("The SVG must be encoded in UTF-8.")
            parser.Parse(chunk, False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise Refused(f"The SVG is not well-formed XML in UTF-8: {error}.") from error


def sanitise(descriptor: int) -> bytes:
    """The checked document without scripts, event handlers, links, and references to anything outside of it. Raises
    Refused when its styles are too large or too deep to look through."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(os.dup(descriptor), "rb") as file:
        document = file.read()
    try:
        return svg_filter.rewrite(document)
    except RecursionError as error:  # brackets in a style
        raise Refused("The SVG has styles that are nested too deeply.") from error


class _Checker:
    """Counts elements while expat reads, and stops it at the first thing that is not wanted."""

    def __init__(self) -> None:
        self.elements = 0
        self.depth = 0
        self.parser = expat.ParserCreate("UTF-8", namespace_separator=" ")
        self.parser.StartElementHandler = self._start_element
        self.parser.EndElementHandler = self._end_element
        self.parser.XmlDeclHandler = self._declaration
        self.parser.StartDoctypeDeclHandler = self._doctype

    def _start_element(self, name: str, _attributes: dict[str, str]) -> None:
        namespace, _, local_name = name.rpartition(" ")
        if self.elements == 0 and (namespace, local_name) != (SVG_NAMESPACE, "svg"):
            raise Refused(f'The document is not an SVG: its first element must be svg with xmlns="{SVG_NAMESPACE}".')
        if namespace == _XINCLUDE_NAMESPACE:
            raise Refused("An SVG with XInclude is not accepted.")
        self.elements += 1
        self.depth += 1
        if self.elements > _MAX_ELEMENTS:
            raise Refused(f"The SVG has more than {_MAX_ELEMENTS:,} elements.")
        if self.depth > _MAX_DEPTH:
            raise Refused(f"The SVG has elements nested deeper than {_MAX_DEPTH}.")

    def _end_element(self, _name: str) -> None:
        self.depth -= 1

    def _declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in _UTF8_NAMES:
            raise Refused("The SVG must be encoded in UTF-8.")

    def _doctype(self, *_arguments: object) -> None:
        raise Refused("An SVG with a DOCTYPE is not accepted: please remove the line that starts with <!DOCTYPE.")
