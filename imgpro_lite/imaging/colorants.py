"""From the chromaticities of a colour space's primaries to the XYZ values of an ICC profile. Only arithmetic."""

from dataclasses import dataclass

Chromaticity = tuple[float, float]
Vector = tuple[float, float, float]

D65: Chromaticity = (0.3127, 0.3290)

# The white of ICC profiles (ICC.1:2022, 7.2.16), as XYZ.
_D50: Vector = (0.9642, 1.0, 0.8249)

# Bradford: from XYZ to the responses of the eye's cones, and back (ICC.1:2022, annex E.3).
_TO_CONES: tuple[Vector, ...] = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
_FROM_CONES: tuple[Vector, ...] = (
    (0.9869929, -0.1470543, 0.1599627),
    (0.4323053, 0.5183603, 0.0492912),
    (-0.0085287, 0.0400428, 0.9684867),
)


@dataclass(frozen=True)
class Primaries:
    """The CIE 1931 x and y of a colour space's primaries and of its white."""

    red: Chromaticity
    green: Chromaticity
    blue: Chromaticity
    white: Chromaticity = D65

    def is_close_to(self, other: "Primaries") -> bool:
        """Whether nobody sees the difference: files round these numbers, or copy them from a measured screen."""
        pairs = zip(self._numbers(), other._numbers(), strict=True)
        return all(abs(mine - theirs) < 0.01 for mine, theirs in pairs)

    def _numbers(self) -> tuple[float, ...]:
        return (*self.red, *self.green, *self.blue, *self.white)


SRGB = Primaries((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))


def colorants(primaries: Primaries) -> list[Vector]:
    """XYZ of full red, green and blue, adapted to D50. Raises ValueError for primaries that span no colours."""
    try:
        white, *corners = (_xyz(xy) for xy in (primaries.white, primaries.red, primaries.green, primaries.blue))
        red, green, blue = corners
        volume = _determinant(red, green, blue)
        # How much of each makes white together (Cramer's rule).
        shares = (
            _determinant(white, green, blue) / volume,
            _determinant(red, white, blue) / volume,
            _determinant(red, green, white) / volume,
        )
        ratios = [to / of for to, of in zip(_apply(_TO_CONES, _D50), _apply(_TO_CONES, white), strict=True)]
    except ZeroDivisionError as error:
        raise ValueError("these primaries span no colours") from error
    if min(*shares, *ratios) <= 0:
        raise ValueError("these primaries do not make white")
    return [_adapted(_times(share, corner), ratios) for share, corner in zip(shares, corners, strict=True)]


def _xyz(xy: Chromaticity) -> Vector:
    x, y = xy
    return x / y, 1.0, (1 - x - y) / y


def _adapted(xyz: Vector, ratios: list[float]) -> Vector:
    red, green, blue = (cone * ratio for cone, ratio in zip(_apply(_TO_CONES, xyz), ratios, strict=True))
    return _apply(_FROM_CONES, (red, green, blue))


def _apply(matrix: tuple[Vector, ...], vector: Vector) -> Vector:
    first, second, third = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)
    return first, second, third


def _times(factor: float, vector: Vector) -> Vector:
    return factor * vector[0], factor * vector[1], factor * vector[2]


def _determinant(a: Vector, b: Vector, c: Vector) -> float:
    return a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0])
