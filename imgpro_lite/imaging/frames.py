"""Resizing animations, whose frames libvips keeps below each other in one high picture."""

import pyvips

# Frames are resized in blocks of about this size: 16 MB as RGBA, and so few blocks that their overhead does not count.
_BLOCK_PIXELS = 4_000_000


def is_animated(image: pyvips.Image) -> bool:
    """Whether more than one frame was loaded. (`n-pages` counts those of the file.)"""
    return bool(image.height > image.get_page_height())


def resize_frames(image: pyvips.Image, width: int, height: int) -> pyvips.Image:
    """Each frame at exactly this size in pixels, premultiplied; the frames are read from top to bottom. Resizing the
    high picture as it is would mix the edges of one frame with the next."""
    frame_height = image.get_page_height()
    if (image.width, frame_height) == (width, height):
        return image
    block_height = frame_height * max(1, _BLOCK_PIXELS // (image.width * frame_height))
    frames: list[pyvips.Image] = []
    for top in range(0, image.height, block_height):
        block = image.crop(0, top, image.width, min(block_height, image.height - top))
        frames += _resize_block(block, width, height)
    resized = pyvips.Image.arrayjoin(frames, across=1)
    if image.hasalpha():
        resized = resized.unpremultiply().cast("uchar")
    resized = resized.copy(interpretation=image.interpretation)
    resized.set_type(pyvips.GValue.gint_type, "page-height", height)
    return resized


def _resize_block(block: pyvips.Image, width: int, height: int) -> list[pyvips.Image]:
    """The frames of a part of the picture, still premultiplied. They are put beside each other before they are resized
    vertically: this takes a fixed number of steps, where one frame after another would take 2 ms for each."""
    frame_height = block.get_page_height()
    frames = block.height // frame_height
    row = block.premultiply().cast("uchar") if block.hasalpha() else block
    row = row.resize(width / block.width, vscale=1.0).copy_memory().grid(frame_height, frames, 1)
    row = row.resize(1.0, vscale=height / frame_height).copy_memory()
    return [row.crop(n * width, 0, width, height) for n in range(frames)]
