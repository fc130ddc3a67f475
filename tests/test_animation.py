"""Animations: their frames, delays and loops, as .gif and .webp; the first frame in other formats."""

import io
import struct
from collections.abc import Iterator

import pytest
from images import BlockingPool, difference, make_animation, make_dots_gif, make_photo, open_image, to_pillow
from PIL import Image
from similarity import colour_difference, reduced, similarity, to_rgb

# What lossy encoders may change of flat colours, in steps of 0 to 255.
TOLERANCE = 6.0

# The colours of `make_gif`, by number.
BLACK, RED, GREEN, BLUE = range(4)
COLOURS = [(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)]

# What happens to a frame before the next one (GIF89a, 23.c.iv).
STAYS, IS_CLEARED, IS_UNDONE = 1, 2, 3

Frame = tuple[int, int, int, int, int, int, int]

PAIRS = [("gif", "gif"), ("gif", "webp"), ("webp", "webp")]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlockingPool]:
    with BlockingPool(tmp_path_factory.mktemp("animation")) as pool:
        yield pool


def make_gif(width: int, height: int, frames: list[Frame], loop: int | None) -> bytes:
    """A GIF of plain rectangles: x, y, width, height, colour, disposal and hundredths of a second of each. The colour 0
    is transparent. `loop` is how often it is repeated, 0 for ever; None is once, without saying so."""
    data = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x81, 0, 0) + b"".join(map(bytes, COLOURS))
    if loop is not None:
        data += b"\x21\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", loop, 0)
    for x, y, frame_width, frame_height, colour, disposal, delay in frames:
        data += b"\x21\xf9\x04" + struct.pack("<BHBB", disposal << 2 | 1, delay, BLACK, 0)
        data += b"\x2c" + struct.pack("<HHHHB", x, y, frame_width, frame_height, 0)
        data += b"\x02" + _blocks(_lzw([colour] * (frame_width * frame_height)))
    return data + b"\x3b"


def _lzw(pixels: list[int]) -> bytes:
    """Codes of 3 bits, cleared so often that they never become longer."""
    clear, end = 4, 5
    codes = [code for n, pixel in enumerate(pixels) for code in ((clear, pixel) if n % 2 == 0 else (pixel,))] + [end]
    bits = sum(code << 3 * n for n, code in enumerate(codes))
    return bits.to_bytes(3 * len(codes) // 8 + 1, "little")


def _blocks(data: bytes) -> bytes:
    parts = (data[start : start + 255] for start in range(0, len(data), 255))
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def frames_by_pillow(data: bytes) -> list[Image.Image]:
    """The frames as another decoder shows them."""
    image = Image.open(io.BytesIO(data))
    frames = []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        frames.append(image.convert("RGBA"))
    return frames


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("short_edge_px", [None, 20])
def test_animations_stay_animated(pool: BlockingPool, source: str, target: str, short_edge_px: int | None) -> None:
    data = make_animation(source, 60, 40, 5)
    variant = open_image(pool.transform(data, target, short_edge_px))
    assert variant.get("n-pages") == 5
    assert variant.get("delay") == [100] * 5
    original = open_image(data)
    for frame in range(5):
        colour = variant.getpoint(5, frame * variant.get("page-height") + 5)
        assert colour[:3] == pytest.approx(original.getpoint(5, frame * 40 + 5)[:3], abs=12)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["gif", "webp"])
@pytest.mark.parametrize("short_edge_px", [None, 40])
@pytest.mark.parametrize(
    "frames",
    [
        [(10, 10, 20, 20, RED, STAYS, 10), (40, 10, 20, 20, GREEN, STAYS, 20), (0, 0, 120, 80, BLUE, STAYS, 5)],
        [
            (0, 0, 120, 80, RED, IS_CLEARED, 10),
            (10, 10, 40, 40, GREEN, IS_CLEARED, 10),
            (60, 20, 40, 40, BLUE, STAYS, 10),
        ],
        [(0, 0, 120, 80, RED, STAYS, 10), (10, 10, 40, 40, GREEN, IS_UNDONE, 10), (60, 20, 40, 40, BLUE, STAYS, 10)],
        [(20, 20, 80, 40, RED, IS_CLEARED, 10), (0, 0, 120, 80, BLACK, STAYS, 10), (0, 0, 60, 80, GREEN, STAYS, 10)],
    ],
    ids=["first frame small", "cleared", "undone", "an empty frame"],
)
def test_what_each_frame_leaves(
    pool: BlockingPool, frames: list[Frame], short_edge_px: int | None, target: str
) -> None:
    """The variant in libvips like the original in Pillow, looked at in the middle of areas of 10 x 10 pixels. (Pillow
    itself takes a WebP for opaque when none of its frames has transparent pixels, whatever is between them.)"""
    data = make_gif(120, 80, frames, 0)
    shrink = 80 // (short_edge_px or 80)
    shown = open_image(pool.transform(data, target, short_edge_px, 95))
    assert shown.get("n-pages") == len(frames)
    shown = shown if shown.hasalpha() else shown.bandjoin(255)
    for number, before in enumerate(frames_by_pillow(data)):
        for x, y in ((x, y) for x in range(5, 120, 10) for y in range(5, 80, 10)):
            red, green, blue, alpha = shown.getpoint(x // shrink, (y + 80 * number) // shrink)
            expected = before.getpixel((x, y))
            assert alpha == pytest.approx(expected[3], abs=60)
            if expected[3]:
                assert (red, green, blue) == pytest.approx(expected[:3], abs=60)


@pytest.mark.parametrize("target", ["gif", "webp"])
@pytest.mark.parametrize(("loop", "plays"), [(None, 1), (0, 0), (3, 4)])
def test_delays_and_loops(pool: BlockingPool, loop: int | None, plays: int, target: str) -> None:
    """GIF says how often it is repeated, WebP and libvips how often it is played."""
    data = make_gif(120, 80, [(0, 0, 120, 80, 1 + n % 3, STAYS, delay) for n, delay in enumerate((2, 7, 300))], loop)
    for short_edge_px in (None, 40):
        variant = open_image(pool.transform(data, target, short_edge_px))
        assert variant.get("delay") == [20, 70, 3000]
        assert variant.get("loop") == plays


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("short_edge_px", [10, 100, 149])
def test_frames_do_not_bleed(pool: BlockingPool, source: str, target: str, short_edge_px: int) -> None:
    """Black and white frames, which a picture of all frames below each other would mix at their edges."""
    pictures = [Image.new("RGB", (200, 150), colour) for colour in ("black", "white", "black", "white")]
    file = io.BytesIO()
    pictures[0].save(file, source, save_all=True, append_images=pictures[1:], duration=50)
    shown = frames_by_pillow(pool.transform(file.getvalue(), target, short_edge_px))
    for number, frame in enumerate(shown):
        edges = [frame.getpixel((5, y))[0] for y in (0, frame.height - 1)]
        assert edges == pytest.approx([255 * (number % 2)] * 2, abs=2)


def test_frames_of_photographs(pool: BlockingPool) -> None:
    """Many frames, so that they are resized in several blocks, each as it would be by itself."""
    photo = make_photo(600, 400)
    pictures = [to_pillow(photo.wrap(x=10 * n, y=0)) for n in range(40)]
    file = io.BytesIO()
    pictures[0].save(file, "WEBP", save_all=True, append_images=pictures[1:], quality=90, method=0)
    data = file.getvalue()
    shown = to_rgb(pool.transform(data, "webp", 100, 90))
    assert shown.height == 40 * 100
    for n in (0, 15, 16, 17, 33, 39):
        frame = shown.crop(0, 100 * n, 150, 100)
        expected = reduced(photo.wrap(x=10 * n, y=0), frame)
        assert similarity(frame, expected) > 0.95
        assert colour_difference(frame, expected) < 1.5


def test_an_animation_is_not_turned(pool: BlockingPool) -> None:
    """Whatever its EXIF says: no camera makes them, and browsers do not either."""
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures = [Image.new("RGB", (60, 40), colour) for colour in ("red", "lime")]
    file = io.BytesIO()
    pictures[0].save(file, "WEBP", save_all=True, append_images=pictures[1:], exif=exif, lossless=True)
    assert (pool.probe(file.getvalue()).width, pool.probe(file.getvalue()).height) == (60, 40)
    for target in ("webp", "png"):
        variant = open_image(pool.transform(file.getvalue(), target, 20))
        assert (variant.width, variant.get_page_height()) == (30, 20)


@pytest.mark.parametrize("target", ["jpeg", "png", "avif"])
def test_other_formats_show_the_first_frame(pool: BlockingPool, target: str) -> None:
    data = make_animation("gif", 60, 40, 5)
    variant = pool.transform(data, target)
    assert difference(to_rgb(variant), to_rgb(data).crop(0, 0, 60, 40)) < TOLERANCE


@pytest.mark.parametrize("target", ["gif", "webp"])
def test_long_animations_show_the_first_frame(pool: BlockingPool, target: str) -> None:
    """60 frames of 1000 x 1000 are 60 megapixels, 50 is the most."""
    variant = open_image(pool.transform(make_dots_gif(1000, 1000, 60), target, 320))
    assert (variant.width, variant.height) == (320, 320)
    assert not variant.get_typeof("n-pages") or variant.get("n-pages") == 1


@pytest.mark.slow
def test_thousands_of_frames(pool: BlockingPool) -> None:
    """Within the deadline: a step for each frame would take longer."""
    variant = open_image(pool.transform(make_dots_gif(100, 100, 4900), "webp", 50))
    assert (variant.width, variant.get_page_height()) == (50, 50)
