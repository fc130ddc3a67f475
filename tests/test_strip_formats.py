"""Taking out the place, or all metadata, of every format: what goes, what stays, never a pixel, whatever comes."""

import io
import random
import struct
from itertools import pairwise
from typing import Any

import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import make_image
from PIL import Image
from telling import PLACE, SOURCES, WORDS, XMP_OF_WORDS, exif, iptc, is_told, jpeg, save, segment, stripped, telling

from imgpro_lite.formats import SNIFF_BYTES, Format, sniff
from imgpro_lite.imaging.jobs import WITHOUT_METADATA, Refused
from imgpro_lite.imaging.strip import find_edits, texts
from imgpro_lite.imaging.strip.edits import apply
from imgpro_lite.imaging.strip.exif import clean
from imgpro_lite.models import Strip


def open_picture(data: bytes) -> Image.Image:
    """The picture as Pillow, or its sister for HEIC, reads it."""
    if sniff(data[:SNIFF_BYTES]) is Format.HEIC:
        heif = pillow_heif.open_heif(io.BytesIO(data))
        image = heif.to_pillow()
        image.info |= {"xmp": heif.info.get("xmp") or b""}
        return image
    return Image.open(io.BytesIO(data))


def pixels(data: bytes) -> list[Any]:
    """Every frame, decoded, with the colour profile."""
    with open_picture(data) as image:
        frames = []
        for frame in range(getattr(image, "n_frames", 1)):
            image.seek(frame)
            frames.append((image.mode, image.size, image.tobytes()))
        return [frames, image.info.get("icc_profile")]


def orientation(data: bytes) -> int:
    with open_picture(data) as image:
        return int(image.getexif().get(0x0112, 1))


def scans(data: bytes) -> bytes:
    """The coded pixels of a JPEG with the tables that decode them."""
    return data[data.index(b"\xff\xdb") : data.index(b"\xff\xd9", data.index(b"\xff\xda")) + 2]


# ── what goes and what stays ──


@pytest.mark.parametrize("what", Strip)
@pytest.mark.parametrize("source", SOURCES)
def test_what_is_left(source: str, what: Strip) -> None:
    data = telling(source)
    assert PLACE in data
    kept = stripped(data, what)
    assert is_told(kept) == []
    assert (WORDS in kept) == (what is Strip.LOCATION and WORDS in data)
    assert pixels(kept) == pixels(data)
    assert orientation(kept) == orientation(data)
    assert stripped(kept, what) == kept
    with open_picture(kept) as image:
        left = image.getexif()
        assert 0x8825 not in left
        if what is Strip.METADATA:
            assert not {0x010E, 0x8769, 700, 33723, 34377} & set(left)
            assert not image.info.get("xmp", b"").replace(b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>', b"").strip(b" \0")


@pytest.mark.parametrize("what", Strip)
def test_the_coded_pixels_of_a_jpeg_are_the_same_bytes(what: Strip) -> None:
    for data in (jpeg(), jpeg(progressive=True)):
        assert scans(stripped(data, what)) == scans(data[: data.rindex(b"\xff\xd8")])


@pytest.mark.parametrize("what", Strip)
@pytest.mark.parametrize("format_", sorted(set(Format) - WITHOUT_METADATA))
def test_a_picture_without_metadata_is_not_changed(format_: Format, what: Strip) -> None:
    data = make_image(format_, 60, 40)
    assert stripped(stripped(data, Strip.METADATA), what) == stripped(data, Strip.METADATA)
    assert find_edits(data, format_, Strip.LOCATION) == []


def test_every_format_is_known() -> None:
    """Of each that has metadata something was taken out above."""
    told = {sniff(telling(source)[:SNIFF_BYTES]) for source in SOURCES}
    assert told | WITHOUT_METADATA == set(Format)


def test_what_is_told_without_a_place_stays() -> None:
    data = save("JPEG", exif=exif(), xmp=XMP_OF_WORDS)
    kept = stripped(data, Strip.LOCATION)
    assert XMP_OF_WORDS in kept
    assert Image.open(io.BytesIO(kept)).getexif().get_ifd(0x8769)[0x9286] == b"ASCII\0\0\0" + WORDS


@pytest.mark.parametrize(
    ("name", "is_place"),
    [
        ("exif:GPSLatitude", True),
        ("drone-dji:GpsLongtitude", True),
        ("Iptc4xmpCore:Location", True),
        ("Iptc4xmpCore:CountryCode", True),
        ("Iptc4xmpExt:LocationShown", True),
        ("Iptc4xmpCore:CiAdrCity", True),
        ("photoshop:City", True),
        ("photoshop:State", True),
        ("geo:lat", True),
        ("dc:coverage", True),
        ("crs:RetouchAreaOpacity", False),
        ("crs:Velocity", False),
        ("xmp:CreateDate", False),
        ("photoshop:Headline", False),
    ],
)
def test_names_of_places_in_xmp(name: str, is_place: bool) -> None:
    for packet in (f'<rdf:Description {name}="x"/>', f"<{name}>x</{name}>", f"<{name}\n>"):
        assert texts.mentions_place(packet.encode()) == is_place
    assert texts.mentions_place(f"<{name}/>".encode("utf-16"))


def test_places_in_iptc() -> None:
    kept = texts.without_places(iptc() + b"\0")
    assert kept == b"\x1c\x02\x78\x00" + bytes((len(WORDS),)) + WORDS
    assert texts.without_places(iptc()[:-1]) is None
    assert texts.without_places(b"\x1c\x02\x78\x80\x04\xff\xff\xff\xff") is None


# ── malformed and hostile ──


@pytest.mark.parametrize("what", Strip)
def test_malformed_exif_goes_and_the_orientation_stays(what: Strip) -> None:
    block = exif().tobytes()[6:]
    assert clean(block[:36], what) == b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"  # cut off
    for broken in (b"", b"MM", b"XX\0*" + block[4:], block[:4] + b"\xff\xff\xff\xff" + block[8:]):
        assert clean(broken, what) == b""


@pytest.mark.parametrize("what", Strip)
def test_a_malformed_segment_goes_as_a_whole(what: Strip) -> None:
    data = save("JPEG")
    for segment_ in (
        segment(0xE1, b"Exif\0\0MM\0*garbage" + PLACE),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + PLACE.decode().encode("utf-16") + b"\0\0"),
        segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\xff\xff\xff\xff" + PLACE),
        segment(0xED, b"Photoshop 3.0\0" + b"what" + PLACE),
        b"garbage between segments" + PLACE,
    ):
        assert stripped(data[:20] + segment_ + data[20:], what) == data  # behind JFIF's own


@pytest.mark.parametrize("order", "<>")
def test_directories_in_a_loop_and_over_each_other(order: str) -> None:
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    orientation_ = struct.pack(f"{order}HHIHH", 274, 3, 1, 6, 0)
    to_itself = struct.pack(f"{order}HHII", 34665, 4, 1, 8)
    over_itself = struct.pack(f"{order}HHII", 34665, 4, 1, 20)
    beyond = struct.pack(f"{order}HHII", 34665, 4, 1, 0xFFFFFFFF)
    many = struct.pack(f"{order}HHII", 37510, 7, 0xFFFFFFFF, 0xFFFFFFF0)
    for entry in (to_itself, over_itself, beyond, many):
        for following in (0, 8, 10, 0xFFFFFFFF):
            table = struct.pack(f"{order}H", 2) + orientation_ + entry + struct.pack(f"{order}I", following)
            only = struct.pack(f"{order}H", 1) + orientation_ + bytes(16)
            assert clean(header + table + PLACE, Strip.LOCATION) == header + only + bytes(len(PLACE))


def test_65535_tags_that_all_lead_to_directories() -> None:
    entries = b"".join(struct.pack("<HHII", 330, 4, 1, 8 + 2 + 12 * number) for number in range(65_535))
    data = b"II*\0\x08\0\0\0\xff\xff" + entries + bytes(4)
    assert PLACE not in stripped(data + PLACE, Strip.LOCATION)
    chain = b"".join(struct.pack("<HI", 0, 8 + 6 * (number + 1)) for number in range(20_000))
    assert stripped(b"II*\0\x08\0\0\0" + chain, Strip.METADATA)


def test_an_absurd_number_of_tags_is_refused_and_says_which_limit() -> None:
    page_bytes = 2 + 12 * 60_000 + 4
    pages = b"".join(
        struct.pack("<H", 60_000) + bytes(12 * 60_000) + struct.pack("<I", 8 + page_bytes * (number + 1))
        for number in range(4)
    )
    with pytest.raises(Refused, match=r"The TIFF has more than 200,000 tags\."):
        stripped(b"II*\0\x08\0\0\0" + pages, Strip.LOCATION)


@pytest.mark.parametrize("what", Strip)
@pytest.mark.parametrize("source", SOURCES)
def test_cut_off_anywhere(source: str, what: Strip) -> None:
    data = telling(source)
    format_ = sniff(data[:SNIFF_BYTES])
    assert format_ is not None
    lengths = {*range(min(len(data), 400)), *range(0, len(data), max(1, len(data) // 100))}
    for length in sorted(lengths):
        edits = find_edits(data[:length], format_, what)
        assert all(one.end <= two.start for one, two in pairwise(edits))
        assert len(apply(data[:length], edits)) <= length + 1


def damage(data: bytes, seed: int) -> bytes:
    """Some bytes changed, lost or doubled, mostly near the ends, where metadata are."""
    chance = random.Random(seed)
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 2, 4, 8))):
        near = chance.randrange(min(600, len(damaged)))
        at = chance.choice((chance.randrange(len(damaged)), near, len(damaged) - 1 - near))
        match chance.randrange(4):
            case 0:
                damaged[at] = chance.choice((0, 1, 8, 0x7F, 0x80, 0xFF))
            case 1:
                damaged[at] ^= 1 << chance.randrange(8)
            case 2:
                del damaged[at : at + chance.randrange(1, 9)]
            case _:
                damaged[at:at] = chance.randbytes(chance.randrange(1, 9))
    return bytes(damaged)


@given(source=st.sampled_from(sorted(SOURCES)), seed=st.integers(0, 2**32))
def test_damaged_files(source: str, seed: int) -> None:
    """No error but the one that is meant, and what decoded before still does."""
    data = telling(source)
    damaged, format_ = damage(data, seed), sniff(data[:SNIFF_BYTES])
    assert format_ is not None
    for what in Strip:
        kept = apply(damaged, find_edits(damaged, format_, what))
        assert len(kept) <= len(damaged) + 1
        if format_ in (Format.JPEG, Format.TIFF, Format.PNG):
            before = try_pixels(damaged)
            assert before is None or try_pixels(kept) == before


def try_pixels(data: bytes) -> list[Any] | None:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return [image.mode, image.size, image.tobytes()]
    except Exception:
        return None
