"""Reduced pictures that are kept from an upload, which has to decode the whole file anyway, so that no view has to.

They are what a variant is before it is encoded: upright, in sRGB, without metadata. Variants made from them are as
similar to the original as those made directly: within 0.003 SSIM and 3 % of the bytes (`scripts/bench first_view`).
"""

from collections.abc import Iterator, Sequence

import pyvips

from imgpro_lite.formats import Format, intermediate_format
from imgpro_lite.imaging.loaders import Picture
from imgpro_lite.imaging.rendering import decode, upright_srgb
from imgpro_lite.imaging.sizes import Size

# Below this a picture is decoded in some 10 ms, which is what reading an intermediate takes.
_WORTH_PIXELS = 2_000_000

# Of a long and thin picture not even the reduced one is small; 8 megapixels are five times an ordinary photograph's.
# In memory they take 32 MB.
_MOST_PIXELS = 8_000_000

# A photograph of 12 or 48 megapixels is decoded at 1.4 times the size of the largest, and not at 2.8 times: 47 ms
# instead of 111, for a similarity (SSIM) of 0.996 to the slow way before anything is compressed.
_COARSENESS = 1.45

# At 95, WebP variants come out 6 % larger than from the original, because the encoder spends bytes on what JPEG left;
# at 98, 3 %. Colour at half the resolution is what JPEG, WebP and AVIF variants have themselves.
_JPEG_QUALITY = 98


class Intermediates:
    """The reduced pictures of one upload, by short edge in pixels."""

    def __init__(self, picture: Picture, format_: Format, edges_px: Sequence[int]) -> None:
        """Decode the picture, at once and as far as is needed. Of the edges, those count that would be worth it."""
        self._full = Size(picture.width, picture.height)
        self._format = intermediate_format(format_, has_alpha=picture.has_alpha)
        is_worth_it = picture.frames == 1 and format_ != Format.SVG and self._full.pixels >= _WORTH_PIXELS
        self._edges_px = [edge for edge in edges_px if is_worth_it and self._is_wanted(edge)]
        self._reduced = self._decode(picture) if self._edges_px else None

    def __bool__(self) -> bool:
        return self._reduced is not None

    def save(self, edges_px: Sequence[int], descriptors: Sequence[int]) -> Iterator[int]:
        """Write one picture to the descriptor of each edge. Yields the edges when their file is complete; others are
        left empty."""
        for edge_px, descriptor in zip(edges_px, descriptors, strict=True):
            if self._reduced is not None and edge_px in self._edges_px:
                self._encode(upright_srgb(self._reduced, self._size(edge_px)), descriptor)
                yield edge_px

    def _is_wanted(self, edge_px: int) -> bool:
        return edge_px < self._full.short_edge and self._size(edge_px).pixels <= _MOST_PIXELS

    def _size(self, edge_px: int) -> Size:
        return self._full.scaled(edge_px / self._full.short_edge)

    def _decode(self, picture: Picture) -> pyvips.Image | None:
        """The whole picture, reduced to the largest edge or somewhat more, in memory. None for one with a palette:
        reduced it has more colours, and PNG variants made from it would have four times the bytes."""
        size = self._size(max(self._edges_px))
        image = decode(picture, size, coarseness=_COARSENESS)
        if image.get_typeof("palette"):
            return None
        if image.width * image.height > _MOST_PIXELS:
            image = upright_srgb(image, size)
        return image.copy_memory()

    def _encode(self, image: pyvips.Image, descriptor: int) -> None:
        file = pyvips.Target.new_to_descriptor(descriptor)
        if self._format == Format.JPEG:
            image.jpegsave_target(file, Q=_JPEG_QUALITY, subsample_mode="on", keep="icc")
        else:  # quick to write and to read: level 6 would take twice as long for files a tenth smaller
            image.pngsave_target(file, compression=1, filter="sub", keep="icc")
