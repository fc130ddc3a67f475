"""The elements and attributes of SVG that are kept when a stranger's drawing is stored.

They are those of SVG 1.1 and SVG 2 (their appendices "Element index", "Attribute index" and "Property index"), CSS
Masking, Compositing, Transforms and Fonts, less whatever runs a program (script, handler, on…), shows another document
(foreignObject, audio, video, iframe, cursor), leads to one (target, ping, xml:base), or says who made it (metadata).
"""

# Between a namespace and a name, as expat gives them: a character that XML does not have, so no namespace has it.
SEPARATOR = "\1"
SVG_NAMESPACE = "http://www.w3.org/2000/svg"
XLINK_NAMESPACE = "http://www.w3.org/1999/xlink"

_ELEMENTS = """
    a altGlyph altGlyphDef altGlyphItem animate animateColor animateMotion animateTransform circle clipPath
    color-profile defs desc ellipse feBlend feColorMatrix feComponentTransfer feComposite feConvolveMatrix
    feDiffuseLighting feDisplacementMap feDistantLight feDropShadow feFlood feFuncA feFuncB feFuncG feFuncR
    feGaussianBlur feImage feMerge feMergeNode feMorphology feOffset fePointLight feSpecularLighting feSpotLight feTile
    feTurbulence filter flowDiv flowLine flowPara flowRegion flowRoot flowSpan font font-face font-face-format
    font-face-name font-face-src font-face-uri g glyph glyphRef hatch hatchpath hkern image line linearGradient marker
    mask mesh meshgradient meshpatch meshrow missing-glyph mpath path pattern polygon polyline radialGradient rect set
    solidcolor stop style svg switch symbol tbreak text textArea textPath title tref tspan use view vkern
    """

ELEMENTS = frozenset(_ELEMENTS.split())

# Elements that change an attribute of another while the reader looks on.
ANIMATIONS = frozenset(("animate", "animateColor", "animateMotion", "animateTransform", "set"))

# Elements whose href may be a picture inside of the document.
WITH_PICTURES = frozenset(("image", "feImage"))

# Names and words for other programs and people, never read as CSS.
PLAIN_ATTRIBUTES = frozenset(("class", "id", "lang", "media", "name", "role", "tabindex", "title", "type"))

_OF_ELEMENTS = """
    accumulate additive alphabetic amplitude arabic-form ascent attributeName attributeType azimuth baseFrequency
    baseProfile bbox begin bias by calcMode cap-height clipPathUnits contentScriptType contentStyleType cx cy d descent
    diffuseConstant divisor dur dx dy edgeMode elevation end exponent externalResourcesRequired filterPrimitiveUnits
    filterRes filterUnits format fr from fx fy g1 g2 glyph-name glyphRef gradientTransform gradientUnits hanging
    hatchContentUnits hatchUnits height horiz-adv-x horiz-origin-x horiz-origin-y ideographic in in2 intercept k k1 k2
    k3 k4 kernelMatrix kernelUnitLength keyPoints keySplines keyTimes lengthAdjust limitingConeAngle local markerHeight
    markerUnits markerWidth maskContentUnits maskUnits mathematical max method min mode numOctaves offset operator
    order orient orientation origin overline-position overline-thickness panose-1 path pathLength patternContentUnits
    patternTransform patternUnits pitch points pointsAtX pointsAtY pointsAtZ preserveAlpha preserveAspectRatio
    primitiveUnits r radius refX refY rendering-intent repeatCount repeatDur requiredExtensions requiredFeatures restart
    result rotate rx ry scale seed side slope snapshotTime spacing specularConstant specularExponent spreadMethod
    startOffset stdDeviation stemh stemv stitchTiles strikethrough-position strikethrough-thickness string surfaceScale
    systemLanguage tableValues targetX targetY textLength timelineBegin to transform u1 u2 underline-position
    underline-thickness unicode unicode-range units-per-em v-alphabetic v-hanging v-ideographic v-mathematical values
    version vert-adv-y vert-origin-x vert-origin-y viewBox viewTarget width widths x x-height x1 x2 xChannelSelector y
    y1 y2 yChannelSelector z zoomAndPan
    """

_OF_PRESENTATION = """
    alignment-baseline background-color baseline-shift clip clip-path clip-rule color color-interpolation
    color-interpolation-filters color-profile color-rendering cursor direction display dominant-baseline
    enable-background fill fill-opacity fill-rule filter flood-color flood-opacity font font-family
    font-feature-settings font-kerning font-size font-size-adjust font-stretch font-style font-variant
    font-variant-caps font-variant-east-asian font-variant-ligatures font-variant-numeric font-variant-position
    font-variation-settings font-weight glyph-orientation-horizontal glyph-orientation-vertical image-rendering
    inline-size isolation kerning letter-spacing lighting-color line-height marker marker-end marker-mid marker-start
    mask mask-type mix-blend-mode opacity overflow paint-order pointer-events shape-inside shape-margin shape-padding
    shape-rendering shape-subtract solid-color solid-opacity stop-color stop-opacity stroke stroke-dasharray
    stroke-dashoffset stroke-linecap stroke-linejoin stroke-miterlimit stroke-opacity stroke-width style style-type
    text-align text-align-last text-anchor text-decoration text-decoration-color text-decoration-fill
    text-decoration-line text-decoration-stroke text-decoration-style text-indent text-orientation text-overflow
    text-rendering text-shadow text-transform transform-box transform-origin unicode-bidi vector-effect visibility
    white-space will-change word-spacing word-wrap writing-mode
    """

ATTRIBUTES = PLAIN_ATTRIBUTES | frozenset(_OF_ELEMENTS.split()) | frozenset(_OF_PRESENTATION.split())

# What an animation may change. An animated style or class would be another way to the same, but nobody makes them.
ANIMATABLE = ATTRIBUTES - PLAIN_ATTRIBUTES - {"style", "attributeName"} | {"class"}
