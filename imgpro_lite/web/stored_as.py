"""What the API's documentation says about originals: what is taken out of them before they are stored."""

from imgpro_lite.models import Strip
from imgpro_lite.settings import Settings

_STORED = {
    None: "as they come, with everything that the camera wrote into them, such as the place and the time",
    Strip.LOCATION: "without the place where they were taken (GPS, and places in XMP and IPTC), without the camera's "
    "maker notes, and without what follows the picture in its file, such as the film of a moving photo; the time and "
    "the camera's settings stay",
    Strip.METADATA: "without what cameras and programs wrote into them (EXIF, XMP, IPTC, comments), but for "
    "orientation and colour profile",
}


def stored_as(settings: Settings) -> str:
    """The same in sentences."""
    with_key = settings.uploads.stripped(anonymous=False)
    without = settings.uploads.stripped(anonymous=True) if settings.anonymous.enabled else with_key
    if with_key == without:
        text = f"Pictures are stored {_STORED[with_key]}."
    else:
        text = f"With a key pictures are stored {_STORED[with_key]}. Without one they are stored {_STORED[without]}."
    return f"{text} No pixel is changed by it." if with_key or without else text
