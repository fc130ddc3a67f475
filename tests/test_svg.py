"""SVG: what is refused, what is kept, and what is drawn."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from images import REAL_IMAGES, BlockingPool, make_image, make_svg, open_image

import imgpro_lite
from imgpro_lite.errors import UnsupportedFormat
from imgpro_lite.formats import Format
from imgpro_lite.imaging.jobs import Probed

needs_real_images = pytest.mark.skipif(not REAL_IMAGES.is_dir(), reason="the real images are not here")

XMLNS = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlockingPool]:
    with BlockingPool(tmp_path_factory.mktemp("svg")) as pool:
        yield pool


def svg(body: str = "", attributes: str = 'width="60" height="40"') -> bytes:
    return f"<svg {XMLNS} {attributes}>{body}</svg>".encode()


@needs_real_images
@pytest.mark.parametrize(("name", "width", "height"), [("circle.svg", 8, 8), ("struct-image-04-t.svg", 480, 360)])
def test_real_files(pool: BlockingPool, name: str, width: int, height: int) -> None:
    probed, stored = pool.probe_and_sanitise((REAL_IMAGES / name).read_bytes())
    assert probed == Probed(Format.SVG, width, height, True, 1)
    assert pool.probe(stored) == probed
    assert stored.count(b"data:image/") == (2 if name.startswith("struct") else 0)


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ('width="60" height="40"', (60, 40)),
        ('width="60px" height="40px" viewBox="0 0 6 4"', (60, 40)),
        ('width="100%" viewBox="0 0 60 40"', (60, 40)),
        ('width="100%" height="100%" viewBox="0 0 60 40"', (60, 40)),
        ('viewBox="10 10 60 40"', (60, 40)),
        ('width="59.6" height="0.6"', (60, 1)),
        ('width="2in" height="1in"', (192, 96)),
        ('width="5.08cm" height="25.4mm"', (192, 96)),
        ('width="144pt" height="6pc"', (192, 96)),
        ('width="2in" height="96px" viewBox="0 0 4 2"', (192, 96)),
        ("", (30, 20)),  # without any size it is as large as what is drawn
    ],
)
def test_intrinsic_size(pool: BlockingPool, attributes: str, size: tuple[int, int]) -> None:
    probed = pool.probe(svg('<rect width="30" height="20"/>', attributes))
    assert (probed.width, probed.height) == size


def test_lengths_in_a_drawing(pool: BlockingPool) -> None:
    """An inch is 96 pixels, whatever the size of the variant."""
    document = svg('<rect x="0.5in" width="36pt" height="1in" fill="red"/>', 'width="96" height="192"')
    for short_edge_px, scale in ((None, 1), (320, 320 / 96)):
        drawn = open_image(pool.transform(document, "png", short_edge_px))
        assert (drawn.width, drawn.height) == (round(96 * scale), round(192 * scale))
        left, top, width, height = (drawn[3] > 127).find_trim(background=0, threshold=1)
        assert (left, top, width, height) == pytest.approx([48 * scale, 0, 48 * scale, 96 * scale], abs=1)


REFUSED = {
    "doctype": b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x.dtd">' + svg(),
    "doctype of html": b"<!DOCTYPE html>" + svg(),
    "external entity": b'<!DOCTYPE svg [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]>' + svg(),
    "entity": b'<!DOCTYPE svg [<!ENTITY a "aaaa">]>' + svg("<text>&a;</text>"),
    "unknown entity": svg("<text>&nbsp;</text>"),
    "xinclude": svg('<x:include xmlns:x="http://www.w3.org/2001/XInclude" href="/etc/passwd"/>'),
    "gzip": b"\x1f\x8b\x08" + bytes(30),
    "utf-16": svg().decode().encode("utf-16"),
    "utf-16 without a mark": svg().decode().encode("utf-16-le"),
    "utf-32": svg().decode().encode("utf-32"),
    "xml 1.1": b'<?xml version="1.1"?>' + svg("<text>&#1;</text>"),
    "declared utf-16": b'<?xml version="1.0" encoding="UTF-16"?>' + svg(),
    "utf-7": b'<?xml version="1.0" encoding="UTF-7"?>' + svg(),
    "latin-1": svg("<text>\xe9</text>").replace("é".encode(), b"\xe9"),
    "nul": svg("\0"),
    "two roots": svg() + svg(),
    "html": b"<html>" + svg() + b"</html>",
    "no namespace": b'<svg width="9" height="9"/>',
    "empty": svg("", 'width="0" height="0"'),
    "no width": svg("", 'width="0" height="9"'),
    "nothing drawn": svg("", ""),
    "huge": svg("", 'width="1000000" height="1000000"'),
    "wide": svg("", 'width="1000000" height="1"'),
    "not closed": svg()[:-6],
    "too many elements": svg("<g/>" * 50_000),
    "too deep": svg("<g>" * 256 + "</g>" * 256),
    "too many attributes": svg("<g " + " ".join(f'a{n}="1"' for n in range(1001)) + "/>"),
    "too many attributes in all": svg(("<g " + " ".join(f'a{n}="1"' for n in range(999)) + "/>") * 502),
    "too many styles": svg("<style>" + ".\\61{fill:red}" * 20_000 + "</style>"),
    "styles too deep": svg("<style>" + "@media{" * 20_000 + "</style>"),
    "a million deep": svg("<g>" * 1_000_000),
    "large": svg("<g/>" * 2_000_000),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(pool: BlockingPool, name: str) -> None:
    with pytest.raises(UnsupportedFormat):
        pool.probe(REFUSED[name], Format.SVG)


def test_the_limits_themselves_are_accepted(pool: BlockingPool) -> None:
    pool.probe(svg('<g fill="red"/>' * 49_999))
    pool.probe(svg("<g>" * 255 + "</g>" * 255))


def test_harmless_parts_are_kept(pool: BlockingPool) -> None:
    import base64

    embedded = "".join(
        f'<image href="data:image/{kind};base64,{base64.b64encode(make_image(kind, 4, 4)).decode()}"/>'
        for kind in ("png", "jpeg", "webp", "gif")
    )
    body = (
        '<style>.a{fill:#00f}</style><linearGradient id="g"><stop offset="0" stop-color="red"/></linearGradient>'
        '<rect class="a" width="9" height="9" style="stroke:blue"/><circle fill="url(#g)" r="3"/><text>naïve</text>'
        '<filter id="f"><feGaussianBlur stdDeviation="2"/></filter><path d="M0 0L9 9" transform="rotate(3)"/>'
        '<g id="s"/><use xlink:href="#s"/>' + embedded
    )
    _probed, stored = pool.probe_and_sanitise(svg(body))
    for part in (
        ".a{fill:#00f}",
        'style="stroke:blue"',
        'fill="url(#g)"',
        "naïve",
        "feGaussianBlur",
        "rotate(3)",
        "#s",
    ):
        assert part.encode() in stored, part
    assert stored.count(b"data:image/") == 4


def test_styles_and_embedded_pictures_are_drawn(pool: BlockingPool) -> None:
    import base64

    picture = base64.b64encode(make_image("png", 4, 4)).decode()
    _probed, stored = pool.probe_and_sanitise(
        svg(
            "<style>.a{fill:#00f}</style>"
            '<rect class="a" width="30" height="40"/>'
            f'<image x="30" width="30" height="40" preserveAspectRatio="none" href="data:image/png;base64,{picture}"/>'
        )
    )
    drawn = open_image(pool.transform(stored, "png"))
    assert drawn.getpoint(15, 20) == [0, 0, 255, 255]
    assert drawn.getpoint(45, 20)[3] == 255
    assert drawn.getpoint(45, 20)[:3] == pytest.approx([128, 128, 128], abs=60)


def test_text_is_drawn(pool: BlockingPool) -> None:
    """The sandbox lets librsvg find the fonts of the system."""
    if not any(Path("/usr/share/fonts").rglob("*.[to]tf")):
        pytest.skip("no fonts here")
    drawn = open_image(pool.transform(svg('<text y="30" font-size="30">WWW</text>'), "png"))
    assert drawn[3].avg() > 20


def test_files_outside_are_not_drawn(pool: BlockingPool, tmp_path: Path) -> None:
    """A document that was never sanitised, for librsvg's own guard and the sandbox."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(make_image("png", 60, 40))
    drawn = open_image(pool.transform(svg(f'<image href="{secret.as_uri()}" width="60" height="40"/>'), "png"))
    assert drawn[3].max() == 0


def test_a_worker_draws_one_svg_only(pool: BlockingPool) -> None:
    pool.probe(make_image("png", 9, 9))
    before = pool.pool.pids
    pool.probe(make_svg(9, 9))
    pool.probe(make_image("png", 9, 9))
    assert pool.pool.pids != before


def test_no_pattern_has_a_possessive_group() -> None:
    """Python 3.11.2, which Debian 12 has, does not match `a(?:b)?+c`: it refused every SVG. Atomic groups do it."""
    package = Path(imgpro_lite.__file__).parent
    possessive = re.compile(r"(?<!\()\)(?:[?*+]|\{[0-9,]+\})\+")
    found = {path.name for path in package.rglob("*.py") if possessive.search(path.read_text("utf-8"))}
    assert found == set()
