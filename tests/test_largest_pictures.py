"""The largest pictures that are accepted really fit into a worker, and one row of pixels more is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pyvips
from images import BlockingPool, encode, open_image

from imgpro_lite.errors import UnsupportedFormat
from imgpro_lite.formats import Format
from imgpro_lite.imaging.budget import (
    INTERLACED_PNG_MB,
    MB_PER_MEGAPIXEL,
    PROGRESSIVE_JPEG_444_MB,
    largest_megapixels,
)
from imgpro_lite.imaging.jobs import Limits

WIDTH_PX = 10_000
KINDS: dict[str, tuple[Format, float, dict[str, Any]]] = {
    "interlaced png": (Format.PNG, INTERLACED_PNG_MB, {"interlace": True}),
    "avif": (Format.AVIF, MB_PER_MEGAPIXEL[Format.AVIF], {}),
    "progressive jpeg": (Format.JPEG, PROGRESSIVE_JPEG_444_MB, {"interlace": True}),
}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlockingPool]:
    """A worker with the most memory that one gets by itself, and all the time that it wants."""
    folder: Path = tmp_path_factory.mktemp("largest")
    with BlockingPool(folder, worker_memory_mb=1024, transform_deadline_seconds=120) as pool:
        yield pool


def blank(format_: Format, rows: int, options: dict[str, Any]) -> bytes:
    pixels = pyvips.Image.black(WIDTH_PX, rows, bands=3).copy(interpretation="srgb")
    return encode(pixels, format_, **options)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_and_one_row_more(pool: BlockingPool, kind: str) -> None:
    format_, mb_per_megapixel, options = KINDS[kind]
    rows = largest_megapixels(Limits(1024, 250, 0), mb_per_megapixel) * 1_000_000 // WIDTH_PX
    content = blank(format_, rows, options)
    probed = pool.probe(content)
    assert (probed.width, probed.height) == (WIDTH_PX, rows)
    small = open_image(pool.transform(content, "webp", 320))
    assert min(small.width, small.height) == 320
    with pytest.raises(UnsupportedFormat, match="megapixels are accepted"):
        pool.probe(blank(format_, rows + 1, options))
