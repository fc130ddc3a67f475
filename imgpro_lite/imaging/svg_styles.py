"""The CSS of a stranger's SVG, in sheets and in attributes, without anything that would be fetched.

Whatever could refer to something is taken apart by a tokenizer that follows CSS Syntax Level 3 to the letter (tinycss2)
and written anew, so that no browser can read it differently. All else, which is most of what there is, stays as it is.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import dropwhile

import tinycss2
from tinycss2 import ast
from tinycss2.serializer import serialize_string_value, serialize_url

from imgpro_lite.imaging.jobs import Refused
from imgpro_lite.imaging.svg_names import SVG_NAMESPACE, XLINK_NAMESPACE

# A reference is made by one of these functions and properties, by an at-rule, or by what an escape turns into one.
_MAY_REFER = re.compile(r"url|src|image|cross-fade|element|expression|binding|behavior", re.IGNORECASE)

# References to something in the same document, which are by far the most common ones.
_LOCAL_REFERENCE = re.compile(r"""url\(\s*(["']?)#[\w.:-]+\1\s*\)""", re.IGNORECASE)

# At-rules that fetch nothing. Others would, as @import, or are for documents of other kinds.
_AT_RULES = frozenset(("media", "font-face", "keyframes", "-webkit-keyframes", "supports", "layer"))

_FETCHING_FUNCTIONS = re.compile(r"url|src|image|cross-fade|element|expression", re.IGNORECASE)

# Data that is inside of the document. Never SVG, which would be a document of its own.
_BASE64 = r"(?:;[\w.=-]+)*;base64,[A-Za-z0-9+/=%\s]*"
_PICTURE = re.compile(rf"data:image/(?:png|jpe?g|gif|webp){_BASE64}", re.IGNORECASE)
_FONT = re.compile(
    rf"data:(?:font/(?:woff2?|ttf|otf|sfnt|collection|opentype|truetype)"
    rf"|application/(?:x-)?(?:font-(?:woff2?|ttf|otf|truetype|opentype|sfnt)|vnd\.ms-opentype)){_BASE64}",
    re.IGNORECASE,
)

# Characters that an escape in CSS can stand for, but no XML document can hold (XML 1.0, 2.2).
_NOT_IN_XML = re.compile("\\\\?[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

# The tokenizer takes 3 to 5 seconds for a megabyte, but an eighth of that for a font or a picture in a data: URL.
_MAX_TOKENIZED_CHARACTERS = 256 * 1024
_LONG_DATA = re.compile(r"[A-Za-z0-9+/=]{100,}")
_DATA_DISCOUNT = 8


def is_picture(url: str) -> bool:
    """Whether this is a data: URL of a picture that has nothing but pixels."""
    return _PICTURE.fullmatch(url) is not None


class StyleFilter:
    """The filter for one document. Raises Refused when there is too much to take apart."""

    def __init__(self) -> None:
        self._characters_left = _MAX_TOKENIZED_CHARACTERS

    def value(self, text: str) -> str:
        """The value of an attribute, or declarations as in `style`."""
        if "(" not in text or not _may_refer(text):  # outside of a sheet only functions refer to something
            return text
        return _write(_harmless(tinycss2.parse_component_value_list(self._counted(text))))

    def sheet(self, text: str) -> str:
        """A style sheet."""
        if not _may_refer(text):
            return text
        rules = tinycss2.parse_stylesheet(self._counted(text), skip_whitespace=True)
        return _write(rule for rule in rules if _is_harmless_rule(rule))

    def _counted(self, text: str) -> str:
        others = len(_LONG_DATA.sub("", text) if "data:" in text else text)
        self._characters_left -= others + (len(text) - others) // _DATA_DISCOUNT
        if self._characters_left < 0:
            raise Refused(
                f"The SVG has more than {_MAX_TOKENIZED_CHARACTERS // 1024} KB of styles with escapes or references."
            )
        return text


def _write(nodes: Iterable[ast.Node]) -> str:
    return _NOT_IN_XML.sub("\ufffd", str(tinycss2.serialize(list(nodes))))


def _may_refer(text: str) -> bool:
    return "\\" in text or "@" in text or _MAY_REFER.search(_LOCAL_REFERENCE.sub(" ", text)) is not None


def _is_harmless_rule(rule: ast.Node) -> bool:
    """Whether a rule of a sheet is kept, after what it holds was cleaned."""
    keyword = rule.lower_at_keyword if rule.type == "at-rule" else None
    if keyword == "namespace":
        return _is_harmless_namespace(rule)
    if rule.type in ("comment", "error") or (keyword is not None and keyword not in _AT_RULES):
        return False
    in_font_face = keyword == "font-face"
    rule.prelude = list(_harmless(rule.prelude))
    if keyword is None:
        rule.prelude = list(dropwhile(lambda token: token.type in ("comment", "whitespace"), rule.prelude))
    if rule.content is not None:
        rule.content = list(_harmless(rule.content, in_font_face=in_font_face))
    return True


def _is_harmless_namespace(rule: ast.AtRule) -> bool:
    """Whether a rule gives a prefix to a namespace that is kept, which is written anew. Nobody fetches a namespace, but
    it may look like an address."""
    tokens = [token for token in rule.prelude if token.type not in ("comment", "whitespace")]
    prefix, value = tokens[:-1], "".join(_text_or_url(token) for token in tokens[-1:])
    is_prefixed = [token.type for token in prefix] in ([], ["ident"])
    if rule.content is not None or not is_prefixed or value not in (SVG_NAMESPACE, XLINK_NAMESPACE):
        return False
    space = ast.WhitespaceToken(0, 0, " ")
    rule.prelude = [space, *prefix, *([space] if prefix else []), ast.StringToken(0, 0, value, f'"{value}"')]
    return True


def _harmless(tokens: Iterable[ast.Node], *, in_font_face: bool = False) -> Iterator[ast.Node]:
    """The tokens without the text of comments and errors, and without references to the outside."""
    in_bad_rule = False
    for token in tokens:
        if token.type == "at-keyword" and token.lower_value not in _AT_RULES:
            in_bad_rule = True
        if in_bad_rule:
            in_bad_rule = token.type != "{} block" and not (token.type == "literal" and token.value == ";")
        elif token.type in ("comment", "error"):
            yield ast.Comment(0, 0, "")  # as it separates what is around it
        elif token.type == "string":  # written anew, as its end may be missing where the text ends
            token.representation = f'"{serialize_string_value(token.value)}"'
            yield token
        elif token.type == "url":
            yield _inner_url(token.value, in_font_face=in_font_face)
        elif token.type == "function":
            yield _harmless_function(token, in_font_face=in_font_face)
        elif token.type in ("() block", "[] block", "{} block"):
            token.content = list(_harmless(token.content, in_font_face=in_font_face))
            yield token
        else:
            yield token


def _harmless_function(function: ast.FunctionBlock, *, in_font_face: bool) -> ast.Node:
    if _FETCHING_FUNCTIONS.search(function.lower_name):
        return _inner_url(_quoted_url(function), in_font_face=in_font_face)
    function.arguments = list(_harmless(function.arguments, in_font_face=in_font_face))
    return function


def _text_or_url(token: ast.Node) -> str:
    """What "…", url(…) and url("…") say, empty for all else."""
    if token.type == "function":
        return _quoted_url(token)
    return str(token.value) if token.type in ("string", "url") else ""


def _quoted_url(function: ast.FunctionBlock) -> str:
    """The URL of url("…"), empty for all other functions."""
    arguments = [token for token in function.arguments if token.type not in ("whitespace", "comment", "error")]
    is_quoted = function.lower_name == "url" and [token.type for token in arguments] == ["string"]
    return str(arguments[0].value) if is_quoted else ""


def _inner_url(url: str, *, in_font_face: bool) -> ast.Node:
    """The URL as a token, if it stays within the document. Else one to nothing, after which a fallback counts as it did
    before; but for a font a fragment would be the document itself."""
    url = url.strip()
    inside = _FONT.fullmatch(url) or (not in_font_face and (url.startswith("#") or is_picture(url)))
    if not inside and in_font_face:
        return ast.IdentToken(0, 0, "none")
    url = url if inside else "#removed"
    return ast.URLToken(0, 0, url, f"url({serialize_url(url)})")
