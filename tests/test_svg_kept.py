"""SVG that is stored: what is harmless comes back as it was sent, and looks the same."""

import base64
from collections.abc import Iterator

import pytest
import pyvips
from conftest import Api
from images import difference, make_image, open_image
from shared import serve

PNG = base64.b64encode(make_image("png", 4, 4, keep="none")).decode()

# Each part as it is written out again: double quotes, and elements without content closed at once.
KEPT = {
    "white space": '<text y="9">\n a<tspan>b</tspan><tspan>c</tspan><tspan xml:space="preserve">  e </tspan>\n</text>',
    "characters": '<text y="9">&lt;&amp;&gt; na\u00efve \u5b8b\u4f53 \U0001f600 \u200f</text>',
    "languages": '<text xml:lang="de" lang="de">x</text>',
    "names in any language": '<rect id="Gruppe_f\u00fcr.1" class="\u00e9 b:c"/><use xlink:href="#Gruppe_f\u00fcr.1"/>',
    "switch": '<switch><g systemLanguage="xx"/><g requiredExtensions="x"/><g><title>t</title></g></switch>',
    "gradients": '<linearGradient id="g1"><stop offset="0" stop-color="red"/></linearGradient>'
    '<radialGradient id="g2" href="#g1" fr="1" spreadMethod="reflect"/><rect fill="url(#g2) red" width="9"/>',
    "quoted reference": '<rect stroke="url(\'#g1\')" fill=\'url("#g2")\' width="9" height="9"/>',
    "pattern": '<pattern id="p1" width="2" height="2" patternUnits="userSpaceOnUse"><circle r="1"/></pattern>'
    '<pattern id="p2" xlink:href="#p1"/><rect fill="url(#p2)" width="9" height="9"/>',
    "mask and clip path": '<mask id="m" mask-type="alpha"><rect width="5" height="5"/></mask><clipPath id="c" '
    'clipPathUnits="objectBoundingBox"><circle r="1"/></clipPath><g mask="url(#m)" clip-path="url(#c)"/>',
    "markers": '<marker id="k" orient="auto-start-reverse" refX="1"><path d="M0 0h1"/></marker>'
    '<path d="M0 0L9 9" marker-start="url(#k)" marker-mid="url(#k)" marker-end="url(#k)"/>',
    "filters": '<filter id="f"><feTurbulence baseFrequency="0.1" result="a"/><feImage href="#s"/><feDropShadow dx="1"/>'
    '<feComposite in="SourceGraphic" in2="a" operator="xor"/></filter><g filter="url(#f) blur(2px)"/>',
    "symbols": '<symbol id="s" viewBox="0 0 1 1"><rect width="1" height="1"/></symbol><use href="#s" width="9"/>',
    "text on a path": '<path id="w" d="M0 9h50"/><text><textPath xlink:href="#w" startOffset="2">x</textPath></text>',
    "text": '<text x="1 2 3" dy="1" rotate="9" textLength="50" lengthAdjust="spacing" text-anchor="middle" '
    'font-family="\'\u5b8b\u4f53\', serif" font-weight="bold" letter-spacing="1" writing-mode="tb">xyz</text>',
    "painting": '<path d="M0 0h9" paint-order="stroke" vector-effect="non-scaling-stroke" stroke-dasharray="1 2"/>',
    "blending": '<g style="mix-blend-mode:multiply;isolation:isolate" opacity=".5" color="red" fill="currentColor"/>',
    "colours": '<rect fill="#f00 icc-color(x, 0.1, 0.2)" stroke="rgba(1,2,3,.4)" stop-color="hsl(9 9% 9%)"/>',
    "transforms": '<g transform="translate(1,2) rotate(3) matrix(1 0 0 1 0 0)" transform-origin="50% 50%"/>',
    "picture": f'<image href="data:image/png;base64,{PNG}" width="4" height="4" image-rendering="pixelated"/>',
    "picture in lines": f'<image xlink:href="data:image/png;charset=x;base64,{PNG[:9]} {PNG[9:]}" width="4"/>',
    "sheet": "<style>.a &gt; .b, rect:not(.c)::before{fill:#00f;stroke:url(#g1)} /* why */</style>",
    "sheet with escapes": '<style>.sm\\:x{fill:url(#g1)}.x{font-family:"\\5b8b"}</style>'.replace("\\5b8b", "\u5b8b"),
    "sheet for screens": "<style>@media (prefers-color-scheme:dark){.a{fill:red}}@keyframes k{to{opacity:0}}</style>",
    "sheet with namespaces": '<style>@namespace "http://www.w3.org/2000/svg";@namespace svg '
    '"http://www.w3.org/2000/svg";svg|rect{opacity:0.5}</style>',
    "font": '<style>@font-face{font-family:F;src:url(data:font/woff2;base64,AAAA) format("woff2")}</style>',
    "variables": '<g style="--main:#f00;fill:var(--main, url(#g1))"/>',
    "animated colour": '<rect><animate attributeName="fill" values="red;url(#g1)" dur="1s" begin="0s;x.click"/></rect>',
    "animations": '<g id="x"><animateTransform attributeName="transform" type="rotate" from="0" to="360" dur="1s"/>'
    '<set attributeName="visibility" to="hidden" begin="2s"/><animateMotion dur="1s" rotate="auto">'
    '<mpath href="#w"/></animateMotion></g><animate xlink:href="#x" attributeName="opacity" by="1"/>',
    "link inside": '<a href="#x"><rect width="1" height="1"/></a><view id="v" viewBox="0 0 1 1"/>',
    "for programs": '<g role="img" aria-label="a (b)" data-name="Ebene 1" tabindex="0"/>',
}
DRAWING = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="320" height="320" '
    f'viewBox="0 0 60 60" preserveAspectRatio="xMidYMin">{"".join(KEPT.values())}</svg>'
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("data")) as api:
        yield api


@pytest.fixture(scope="module")
def src(shared: Api) -> str:
    made = shared.upload(DRAWING.encode())
    assert made.status_code == 201, made.text
    return str(made.json()["src"])


@pytest.mark.parametrize("name", KEPT)
def test_it_is_kept(shared: Api, src: str, name: str) -> None:
    assert KEPT[name] in shared.fetch(src).text


def test_it_looks_the_same(shared: Api, src: str) -> None:
    served = shared.fetch(src.replace(".svg", ".png"))
    assert served.status_code == 200, served.text
    assert difference(open_image(served.content), pyvips.Image.svgload_buffer(DRAWING.encode())) < 0.5


def test_what_is_stored_is_stored_again_as_it_is(shared: Api, src: str) -> None:
    """So that a drawing that is downloaded and sent back is the same one."""
    served = shared.fetch(src).content
    assert shared.fetch(shared.upload(served).json()["src"]).content == served


def test_a_fallback_takes_the_place_of_what_is_removed(shared: Api) -> None:
    """Drawing programs put HTML for browsers beside text for all others."""
    document = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><switch><foreignObject><p/></foreignObject>'
        '<text>plain</text></switch><a href="https://example.com/"><rect fill="url(a.svg#b) red"/></a></svg>'
    )
    served = shared.fetch(shared.upload(document.encode()).json()["src"]).text
    assert "<switch><text>plain</text></switch>" in served
    assert '<a><rect fill="url(#removed) red"/></a>' in served


def test_what_belongs_to_other_programs_is_left_away(shared: Api) -> None:
    """However their namespaces begin."""
    document = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:d="data-binding" xmlns:i="of no form" width="9" height="9">'
        '<rect d:path="1" i:data-a="2" data-path="3" width="1"/></svg>'
    )
    served = shared.fetch(shared.upload(document.encode()).json()["src"]).text
    assert '<rect data-path="3" width="1"/>' in served


OTHERWISE = {
    '<g xml:id="a"/><g xml:id="b" id="c"/>': '<g id="a"/><g id="c"/>',
    "<style>@NAMESPACE svg/**/url(http://www.w3.org/2000/svg);</style>": '<style>@NAMESPACE svg "http://www.w3.org/2000'
    '/svg";</style>',
    "<style>@namespace\nurl( 'http://www.w3.org/1999/xlink' ) ;a{}</style>": '<style>@namespace "http://www.w3.org/1999'
    '/xlink";a{}</style>',
    '<style>@namespace a "urn:x";@namespace b "http://www.w3.org/2000/svg" c;@namespace "http://www.w3.org/2000/svg"{}'
    '@media all{@namespace "http://www.w3.org/2000/svg";}</style>': "<style>@media all{}</style>",
}


@pytest.mark.parametrize("part", OTHERWISE)
def test_it_is_written_otherwise(shared: Api, part: str) -> None:
    document = f'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">{part}</svg>'
    assert OTHERWISE[part] in shared.fetch(shared.upload(document.encode()).json()["src"]).text


@pytest.mark.parametrize("name", ["iso-8859-1", "ISO-8859-1", "latin1"])
def test_latin_1_is_stored_as_utf_8(shared: Api, name: str) -> None:
    for quote, text in (("'", "plain"), ('"', "na\u00efve \u00a9")):
        document = (
            f"<?xml version='1.0' encoding={quote}{name}{quote} standalone='no'?>\n"
            f'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text id="{text}">{text}</text></svg>'
        )
        served = shared.fetch(shared.upload(document.encode("latin-1")).json()["src"])
        assert served.content.startswith(b'<?xml version="1.0" encoding="utf-8"?>')
        assert f'<text id="{text}">{text}</text>' in served.content.decode()


def test_a_doctype_is_refused_with_what_to_do(shared: Api) -> None:
    document = '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x.dtd"><svg xmlns="http://www.w3.org/2000/svg"/>'
    refused = shared.upload(document.encode())
    assert (refused.status_code, refused.json()["error"]) == (400, "unsupported_format")
    assert "please remove the line that starts with <!DOCTYPE" in refused.json()["message"]
