"""Colour spaces that are told by code points (ITU-T H.273, "CICP"), as AVIF, HEIC and PNG can, as ICC profiles.

High dynamic range (PQ and HLG) becomes ordinary range: the white of a page is 203 cd/m2 (ITU-R BT.2408), and what is
brighter is rolled off up to 1,000, by the same curve that browsers use on ordinary screens.
"""

from imgpro_lite.imaging import icc
from imgpro_lite.imaging.colorants import SRGB, Chromaticity, Primaries

_UNSPECIFIED = 2

_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
_DCI_WHITE: Chromaticity = (0.314, 0.351)

# H.273 table 2. Others are films' and old television's; they are taken for sRGB.
_PRIMARIES = {
    1: SRGB,
    _UNSPECIFIED: SRGB,
    5: Primaries((0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),
    6: Primaries((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: Primaries((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: Primaries((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: Primaries(*_P3, _DCI_WHITE),
    12: Primaries(*_P3),
}

# H.273 table 3. The curves of television (1, 6, 14, 15) describe cameras; browsers show them as sRGB, and so is
# everything that is not here.
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0, 17: 2.6}
_PQ = 16
_HLG = 18

_REFERENCE_WHITE_CD_M2 = 203.0
_PEAK_CD_M2 = 1000.0
_PQ_PEAK_CD_M2 = 10_000.0

# 4,096 steps are 16 for each step of 8 bits. The profile is 8 KB, but such pictures never keep theirs.
_CURVE_SAMPLES = 4096


def find_profile(primaries: int, transfer: int, *, is_grey: bool) -> bytes | None:
    """The ICC profile of a picture with these code points, or None when it is sRGB."""
    space = _PRIMARIES.get(primaries, SRGB)
    curve = _curve(transfer)
    if curve is None and (is_grey or space.is_close_to(SRGB)):
        return None
    curve = curve or icc.srgb_curve()
    return icc.grey_profile(curve) if is_grey else icc.rgb_profile(space, curve)


def _curve(transfer: int) -> bytes | None:
    """The ICC curve of a transfer characteristic, or None when it is sRGB's."""
    if transfer in _GAMMAS:
        return icc.gamma_curve(_GAMMAS[transfer])
    if transfer in (_PQ, _HLG):
        luminance = _pq_cd_m2 if transfer == _PQ else _hlg_cd_m2
        return icc.sampled_curve([_rolled_off(luminance(n / (_CURVE_SAMPLES - 1))) for n in range(_CURVE_SAMPLES)])
    return None


def _pq_cd_m2(value: float) -> float:
    """The luminance of a PQ value of 0 to 1 (ITU-R BT.2100, table 4)."""
    m1, m2, c1, c2, c3 = 2610 / 16_384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = float(value ** (1 / m2))
    return _PQ_PEAK_CD_M2 * float((max(root - c1, 0.0) / (c2 - c3 * root)) ** (1 / m1))


def _hlg_cd_m2(value: float) -> float:
    """The luminance of an HLG value of 0 to 1 on a screen of 1,000 cd/m2 (ITU-R BT.2100, table 5)."""
    a, b, c = 0.178_832_77, 0.284_668_92, 0.559_910_73
    scene = value**2 / 3 if value <= 0.5 else (2.718_281_828_46 ** ((value - c) / a) + b) / 12
    return _PEAK_CD_M2 * float(scene**1.2)


def _rolled_off(luminance_cd_m2: float) -> float:
    """0 to 1 on an ordinary screen: Reinhard's curve, in which 1,000 cd/m2 become 1."""
    light = min(luminance_cd_m2, _PEAK_CD_M2) / _REFERENCE_WHITE_CD_M2
    peak = _PEAK_CD_M2 / _REFERENCE_WHITE_CD_M2
    return min(1.0, light * (1 + light / peak**2) / (1 + light))
