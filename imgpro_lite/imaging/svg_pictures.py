"""Pictures within an SVG, as data: URLs: they are stored without metadata, as the document around them is."""

import base64
import binascii
from urllib.parse import unquote_to_bytes

from imgpro_lite.formats import SNIFF_BYTES, sniff
from imgpro_lite.imaging.strip import find_edits
from imgpro_lite.imaging.strip.edits import apply
from imgpro_lite.models import Strip

_IN_BASE64 = ";base64"


def without_metadata(url: str) -> str:
    """The data: URL of the same picture without EXIF, XMP, IPTC and the like; the same URL when it has none, or is not
    a picture after all."""
    head, _, content = url.partition(",")
    if not head.lower().rstrip().endswith(_IN_BASE64):
        return url
    try:
        picture = base64.b64decode(unquote_to_bytes(content))
    except binascii.Error:
        return url
    format_ = sniff(picture[:SNIFF_BYTES])
    edits = find_edits(picture, format_, Strip.METADATA) if format_ else []
    return f"{head},{base64.b64encode(apply(picture, edits)).decode()}" if edits else url
