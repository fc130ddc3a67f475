"""Whether an XMP packet may stay where the place is to go: when expat can read all of it, when every property is of a
schema that is known, and when none has a name of a place. Else the whole packet goes: to take single properties out
would leave what was not expected.

Values are not looked into: a title, a caption or a keyword is what a person typed. The work grows with the packet's
length and no faster; schemas are told by their addresses, as prefixes are anybody's choice.
"""

import re
from xml.parsers import expat

# Photoshop and Camera Raw write up to 100 KB for one picture, and a few MB where many were pasted into each other.
_MOST_BYTES = 4 * 1024 * 1024
# Elements and attributes. expat compares those of one element with each other: 0.05 s for so many.
_MOST_NAMES = 20_000
_MOST_NAME_CHARACTERS = 100

# RDF's and those of XMP (ISO 16684-1), IPTC, EXIF and a few programs, where only what is of a place is named so.
_SCHEMAS = frozenset(
    {
        "adobe:ns:meta/",
        "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
        "http://www.w3.org/XML/1998/namespace",
        "http://purl.org/dc/elements/1.1/",
        *(f"http://ns.adobe.com/xap/1.0/{name}" for name in ("", "mm/", "rights/", "bj/", "t/pg/", "g/")),
        *(f"http://ns.adobe.com/xap/1.0/sType/{name}#" for name in ("ResourceRef", "ResourceEvent", "Version", "Job")),
        *(f"http://ns.adobe.com/xap/1.0/sType/{name}#" for name in ("Dimensions", "Font", "ManifestItem")),
        "http://ns.adobe.com/xmp/sType/Area#",
        "http://ns.adobe.com/xmp/note/",
        "http://ns.adobe.com/xmp/Identifier/qual/1.0/",
        "http://ns.adobe.com/photoshop/1.0/",
        "http://ns.adobe.com/camera-raw-settings/1.0/",
        "http://ns.adobe.com/lightroom/1.0/",
        "http://ns.adobe.com/pdf/1.3/",
        "http://ns.adobe.com/tiff/1.0/",
        "http://ns.adobe.com/exif/1.0/",
        "http://ns.adobe.com/exif/1.0/aux/",
        "http://cipa.jp/exif/1.0/",
        "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
        "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
        "http://ns.useplus.org/ldf/xmp/1.0/",
        "http://www.metadataworkinggroup.com/schemas/regions/",
        "http://www.metadataworkinggroup.com/schemas/keywords/",
        "http://ns.microsoft.com/photo/1.0",
        "http://ns.microsoft.com/photo/1.0/",
        "http://ns.apple.com/HDRGainMap/1.0/",
        "http://ns.apple.com/pixeldatainfo/1.0/",
        "http://ns.apple.com/faceinfo/1.0/",
        "http://www.gimp.org/xmp/",
    }
)

# What a name of a place has in it, in small letters; and what it has as a word of its own: CreatorCity, not Velocity.
_STEMS = frozenset(
    {
        *("gps", "latit", "longit", "longtit", "location", "locality", "geotag", "geoloc", "georss", "coordinate"),
        *("address", "ciadr", "country", "county", "province", "municipal", "altitude", "worldregion", "makernote"),
    }
)
_WORDS = frozenset(
    ("lat", "lon", "lng", "long", "latlng", "latlon", "geo", "city", "town", "state", "place", "coverage")
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NOT_ON_EARTH = frozenset(("SubjectLocation", "SourceState"))  # within the picture (EXIF); a retouched part

_SEPARATOR = " "
_INSTRUCTIONS = frozenset(("xpacket", "adobe-xap-filters"))
# Signs of a packet in a text that may be anything.
_PACKET = re.compile(rb"xmpmeta|xapmeta|rdf-syntax-ns|ns\.adobe\.com|<\?xpacket|:RDF[\s>]", re.IGNORECASE)


class _InDoubt(Exception):
    """The packet has something that is not known."""


def mentions_place(xmp: bytes) -> bool:
    """Whether an XMP packet has a property of a place, or anything that is not known."""
    packet = xmp.rstrip(b"\0")
    if len(packet) > _MOST_BYTES or b"\0" in packet or packet.count(b"=") > _MOST_NAMES:
        return True
    try:
        _parser().Parse(packet, True)
    except (_InDoubt, expat.ExpatError):
        return True
    return False


def is_packet(text: bytes) -> bool:
    """Whether a text that should be a person's or a program's is XMP instead, or has some in it."""
    return bool(_PACKET.search(text.replace(b"\0", b"")))


def _parser() -> expat.XMLParserType:
    parser = expat.ParserCreate("UTF-8", _SEPARATOR)
    parser.ordered_attributes = True
    names_left = _MOST_NAMES
    known = {"about"}  # RDF's, as the first programs wrote it; a packet has a few names many times

    def start(name: str, attributes: list[str]) -> None:
        nonlocal names_left
        names = {name, *attributes[::2]}
        names_left -= len(names)
        new = names - known
        if names_left < 0 or not all(_is_known(one) for one in new):
            raise _InDoubt(name)
        known.update(new)

    def declaration(_version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.upper() != "UTF-8":
            raise _InDoubt(encoding)

    def instruction(target: str, _content: str) -> None:
        if target not in _INSTRUCTIONS:
            raise _InDoubt(target)

    def never(*_: object) -> None:
        raise _InDoubt

    parser.StartElementHandler = start
    parser.XmlDeclHandler = declaration
    parser.ProcessingInstructionHandler = instruction
    parser.CommentHandler = never
    parser.StartDoctypeDeclHandler = never
    return parser


def _is_known(name: str) -> bool:
    """Whether a name behind its schema is known to be of no place."""
    schema, _, local = name.rpartition(_SEPARATOR)
    return schema in _SCHEMAS and not names_place(local)


def names_place(name: str) -> bool:
    """Whether a name, as of a property, is one of a place; also when it is too long to tell."""
    if len(name) > _MOST_NAME_CHARACTERS:
        return True
    if name in _NOT_ON_EARTH:
        return False
    small = name.lower()
    return any(stem in small for stem in _STEMS) or any(word.lower() in _WORDS for word in _WORD.findall(name))
