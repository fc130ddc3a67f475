"""The filter for SVG, on documents and styles that nobody would think of."""

import hostile_svg
from hypothesis import given, settings
from hypothesis import strategies as st

from imgpro_lite.imaging.svg_filter import rewrite

OPENING = f'<svg xmlns="{hostile_svg.SVG}" xmlns:l="{hostile_svg.XLINK}" xmlns:h="{hostile_svg.XHTML}">'

# What styles are made of, and what their readers have stumbled over.
_STYLE_PIECES = (
    "url( url(# URL( uRl(' u\\72l( \\75rl( \\000075 rl( src( image( image-set( -webkit-image-set( expression( var( "
    "calc( @import @IMPORT @\\69mport @media @font-face @keyframes @namespace @charset @supports @layer --a: fill: "
    "src: x: -moz-binding: behavior: http://x.invalid //x.invalid #a data:image/png;base64,AAAA data:image/svg+xml,x "
    "data:font/woff2;base64,AAAA javascript:x ( ) [ ] { } ; , : ! . * /* */ <!-- --> ' \" \\ \\\n \\a U+26 red"
)
STYLE_PIECES = _STYLE_PIECES.split(" ")
styles = st.lists(st.sampled_from([*STYLE_PIECES, " ", "\n", "\t", "\f"]), max_size=25).map("".join)

_NAMES = "svg g a use image set animate style script text feImage foreignObject switch title h:script h:style l:a"
_KEYS = "href l:href h:href xml:base onload style fill attributeName to values id class data-x src begin"
_VALUES = "#a http://x.invalid data:image/png;base64,AAAA data:image/svg+xml,x javascript:x href l:href fill style"
values = st.one_of(st.sampled_from(_VALUES.split()), styles)
attributes = st.dictionaries(st.sampled_from(_KEYS.split()), values, max_size=4)
elements = st.recursive(
    st.one_of(
        st.just("text &lt;script&gt;"), st.just("<!-- > -->"), st.just("<![CDATA[</style>]]>"), st.just("<?a b?>")
    ),
    lambda inner: st.builds(
        lambda name, attributes, inner: f"<{name}{_written(attributes)}>{''.join(inner)}</{name}>",
        st.sampled_from(_NAMES.split()),
        attributes,
        st.lists(inner, max_size=4),
    ),
    max_leaves=12,
)


def _written(attributes: dict[str, str]) -> str:
    return "".join(f' {key}="{_escaped(value)}"' for key, value in attributes.items())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;").replace("\f", " ")


def check(body: str) -> None:
    """What comes out is harmless, and stays as it is when it comes again."""
    written = rewrite(f"{OPENING}{body}</svg>".encode())
    assert hostile_svg.find_harm(written) == []
    assert rewrite(written) == written


@settings(max_examples=80, deadline=None, derandomize=True)
@given(styles)
def test_any_style(text: str) -> None:
    check(f'<style>{_escaped(text)}</style><g style="{_escaped(text)}" fill="{_escaped(text)}"/>')


@settings(max_examples=50, deadline=None, derandomize=True)
@given(elements)
def test_any_elements(body: str) -> None:
    check(body)
