"""Taking out the place, or all metadata, of every format: what goes, what stays, never a pixel, whatever comes."""

import io
import random
import struct
import zlib
from itertools import pairwise
from typing import Any

import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import make_image
from PIL import Image
from telling import (
    PLACE,
    SOURCES,
    WORDS,
    XMP_OF_PLACE,
    XMP_OF_WORDS,
    exif,
    iptc,
    is_told,
    jpeg,
    profile,
    save,
    segment,
    stripped,
    telling,
)

from imgpro_lite.formats import SNIFF_BYTES, Format, sniff
from imgpro_lite.imaging.jobs import WITHOUT_METADATA, Refused
from imgpro_lite.imaging.strip import find_edits, texts, xmp
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


SCHEMAS = {
    "": "http://ns.adobe.com/exif/1.0/",
    "q": "http://ns.adobe.com/exif/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "crs": "http://ns.adobe.com/camera-raw-settings/1.0/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "dwc": "http://rs.tdwg.org/dwc/index.htm",
    "drone-dji": "http://www.dji.com/drone-dji/1.0/",
    "geo": "http://www.w3.org/2003/01/geo/wgs84_pos#",
    "mp": "http://ns.microsoft.com/photo/1.2/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "own": "http://example.com/",
}
OF_A_PLACE = (
    *(
        "exif:GPSLatitude",
        "q:GPSLatitude",
        "GPSLatitude",
        "exif:Longitude",
        "exif:DestLat",
        "exif:lng",
        "exif:Altitude",
    ),
    *("photoshop:City", "photoshop:State", "dc:coverage", "Iptc4xmpExt:LocationShown", "Iptc4xmpExt:Address"),
    *("Iptc4xmpCore:Location", "Iptc4xmpCore:CountryCode", "Iptc4xmpCore:CiAdrCity", "crs:Coordinates"),
    *("drone-dji:GpsLongtitude", "drone-dji:LRFTargetLat", "geo:lat", "dwc:locality", "mp:RegionAddress", "own:Title"),
)
OF_NONE = (
    *(
        "crs:RetouchAreaOpacity",
        "crs:Velocity",
        "xmp:CreateDate",
        "photoshop:Headline",
        "exif:SubjectLocation",
        "crs:SourceState",
    ),
    *("Iptc4xmpExt:PersonInImage", "exif:FocalPlaneXResolution", "dc:title"),
)


def packet(content: str) -> bytes:
    """XMP, as programs write it."""
    names = " ".join(f'xmlns:{prefix}="{schema}"' for prefix, schema in SCHEMAS.items() if prefix)
    rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    begin = "<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>"
    document = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{rdf}" {names}>{content}</rdf:RDF></x:xmpmeta>'
    return f"{begin}{document}{' ' * 100}<?xpacket end='w'?>".encode()


@pytest.mark.parametrize("name", [*OF_A_PLACE, *OF_NONE])
def test_names_of_places_in_xmp(name: str) -> None:
    schema = "" if ":" in name else f' xmlns="{SCHEMAS[""]}"'
    written = [
        f"<{name}{schema}>x</{name}>",
        f"<{name}{schema}\n/>",
        f"<dc:x><rdf:li><{name}{schema}/></rdf:li></dc:x>",
    ]
    if ":" in name:
        written += [f'<rdf:Description rdf:about="" {name}="x"/>', f"<rdf:Description {name} = 'x'></rdf:Description>"]
    for content in written:
        assert xmp.mentions_place(packet(content)) == (name in OF_A_PLACE)
        assert xmp.mentions_place(packet(content) + b"\0\0") == (name in OF_A_PLACE)


def test_xmp_that_cannot_be_told() -> None:
    good = packet("<dc:title>x</dc:title>")
    assert not xmp.mentions_place(good)
    for doubtful in (
        good.decode().encode("utf-16"),
        good[:-130],
        good + b"<gps/>",
        b'<?xml version="1.0" encoding="iso-8859-1"?>' + good.partition(b"?>")[2],
        b'<!DOCTYPE x [<!ENTITY e "48.85">]>' + good.partition(b"?>")[2],
        packet("<!-- 48.85 -->"),
        packet("<?gps 48.85?>"),
        packet("<none:title/>"),
        packet('<dc:title place="x"/>'),
        packet("<GPSLatitude/>"),
        b"",
    ):
        assert xmp.mentions_place(doubtful)


@pytest.mark.parametrize(
    "piece",
    ["Geo", "GPS", "A", "a.", "Lat", "Lo", "aA", ":Geo", "<dc:a>", "<dc:a/>", "<dc:a b='", " dc:a='x'", "&#65;"],
)
def test_hostile_xmp_takes_work_that_grows_with_its_length(piece: str) -> None:
    """No parser of our own that could turn back, and a limit for all that expat compares."""
    for content in (f"<dc:{piece}", f"<dc:x {piece}"):
        assert xmp.mentions_place(packet(content + piece * 30_000))
        assert xmp.mentions_place(b":" + (content + piece * 30_000).encode())


def test_much_xmp_goes() -> None:
    for count, is_in_doubt in ((1_000, False), (30_000, True)):
        assert xmp.mentions_place(packet("<dc:a/>" * count)) == is_in_doubt
        assert xmp.mentions_place(packet("<dc:a>&#65;</dc:a>" * count)) == is_in_doubt
    for size_bytes, is_in_doubt in ((4_000_000, False), (4_200_000, True)):
        assert xmp.mentions_place(packet(f"<dc:a>{'x' * size_bytes}</dc:a>")) == is_in_doubt


def test_places_in_iptc() -> None:
    kept = texts.without_places(iptc() + b"\0")
    assert kept == b"\x1c\x02\x78\x00" + bytes((len(WORDS),)) + WORDS
    assert texts.without_places(iptc()[:-1]) is None
    assert texts.without_places(b"\x1c\x02\x78\x80\x04\xff\xff\xff\xff") is None


PNG_TEXTS = {
    **dict.fromkeys(("Title", "Comment", "Creation Time", "parameters", "date:create"), True),
    **dict.fromkeys(
        ("Latitude", "Longitude", "LATITUDE", "LOCATION", "COUNTRY", "Photo Location", "Creator City"), False
    ),
    **dict.fromkeys(("EXIF GPS GPSLatitude", "Coordinates", "Geotag", "lon", "latlng", "Place", "Where", "xmp"), False),
    **dict.fromkeys(("Raw profile type exif", "raw profile type exif", "exif:GPSLatitude"), False),
}


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    made = b"".join(
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in chunks
    )
    return make_image("png", 40, 30)[:33] + made + make_image("png", 40, 30)[33:]


def test_texts_of_png() -> None:
    for keyword, stays in PNG_TEXTS.items():
        for kind, between in ((b"tEXt", b"\0"), (b"iTXt", bytes(5))):
            data = png_with((kind, keyword.encode() + between + WORDS))
            assert (WORDS in stripped(data, Strip.LOCATION)) == stays
            assert WORDS not in stripped(data, Strip.METADATA)


def test_what_png_texts_hide() -> None:
    plain = make_image("png", 40, 30)
    for kind, body in (
        (b"tEXt", b"Comment\0" + XMP_OF_PLACE),
        (b"iTXt", b"Comment" + bytes(5) + XMP_OF_PLACE),
        (b"tEXt", b"XML:com.adobe.xmp\0" + XMP_OF_PLACE),
        (b"zTXt", b"Comment\0\0" + zlib.compress(WORDS)),
        (b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(WORDS)),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP_OF_WORDS)),
        (b"GPSA", PLACE),  # calls itself critical
    ):
        assert stripped(png_with((kind, body)), Strip.LOCATION) == plain
    one = (b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + XMP_OF_WORDS)
    assert stripped(png_with(one, one), Strip.LOCATION) == png_with(one)


@pytest.mark.parametrize("what", Strip)
def test_what_is_behind_the_parts_of_a_jpeg(what: Strip) -> None:
    data = save("JPEG", icc_profile=profile())
    at = data.index(b"\xff\xe2")
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    whole = data[at:end]
    content = whole[4:]
    halves = [content[:12] + bytes((n, 2)) + half for n, half in ((1, content[14:214]), (2, content[214:]))]
    two, turned = (b"".join(segment(0xE2, half) for half in order) for order in (halves, halves[::-1]))
    adobe = b"Adobe\0\x64\0\0\0\0\1"
    jfif = data[6:20]
    for before, after in (
        (segment(0xE2, content + PLACE), whole),
        (segment(0xE2, halves[0]) + segment(0xE2, halves[1] + PLACE), two),
        (two, two),
        (turned, turned),
        (segment(0xE2, halves[0]), b""),
        (whole + segment(0xE2, b"ICC_PROFILE\0\2\2" + PLACE), b""),
        (segment(0xE2, b"ICC_PROFILE\0\1\1" + PLACE), b""),
        (segment(0xE2, b"ICC_PROFILE\0"), b""),
        (segment(0xEE, adobe + PLACE) + whole, segment(0xEE, adobe) + whole),
        (segment(0xE0, jfif + PLACE), segment(0xE0, jfif)),
        (segment(0xE0, jfif[:-2] + b"\xff\xff" + PLACE), segment(0xE0, jfif)),
    ):
        assert stripped(data[:at] + before + data[end:], what) == data[:at] + after + data[end:]


def test_a_jpeg_has_one_xmp_packet() -> None:
    data = save("JPEG", xmp=XMP_OF_WORDS)
    more = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP_OF_WORDS) * 3
    assert stripped(data[:-2] + more + data[-2:], Strip.LOCATION).count(WORDS) == 1


def test_xmp_in_comments() -> None:
    for format_ in ("JPEG", "GIF"):
        assert PLACE in save(format_, comment=XMP_OF_PLACE)
        assert PLACE not in stripped(save(format_, comment=XMP_OF_PLACE), Strip.LOCATION)
        assert WORDS not in stripped(save(format_, comment=XMP_OF_WORDS), Strip.LOCATION)


def with_boxes_in_meta(data: bytes, *added: bytes) -> bytes:
    """The file with more boxes in its meta box, which is moved to the end, so that offsets stay right."""
    at = data.index(b"meta") - 4
    end = at + int.from_bytes(data[at : at + 4], "big")
    boxes = b"".join((8 + len(box) - 4).to_bytes(4, "big") + box for box in added)
    meta = (end - at + len(boxes)).to_bytes(4, "big") + data[at + 4 : end] + boxes
    return data[: at + 4] + b"free" + data[at + 8 :] + meta


@pytest.mark.parametrize("what", Strip)
@pytest.mark.parametrize("format_", ["heic", "avif"])
def test_boxes_and_items_of_heif_that_are_not_known(format_: str, what: Strip) -> None:
    data = with_boxes_in_meta(
        telling(format_), b"xml " + PLACE, b"uuid" + bytes(16) + PLACE, b"udta" + PLACE, b"free" + PLACE
    )
    assert pixels(data) == pixels(telling(format_))
    item = telling(format_).replace(b"Exif\0", b"GPSx\0", 1)
    assert b"GPSx" in item
    for one in (data, item):
        kept = stripped(one, what)
        assert is_told(kept) == []
        assert pixels(kept) == pixels(one)
        assert stripped(kept, what) == kept


def test_absurdly_many_items_of_heif_are_refused() -> None:
    data = telling("avif")
    at = data.index(b"iloc")
    version, sizes = data[at + 4], data[at + 8]
    assert (version, sizes) == (0, 0x44)
    one = struct.pack(">HHHII", 99, 0, 1, 0, len(data))  # each is the whole file
    entries = b"iloc" + bytes(4) + b"\x44\0" + struct.pack(">H", 2_000) + one * 2_000
    broken = with_boxes_in_meta(data[:at] + b"free" + data[at + 4 :], entries)
    with pytest.raises(Refused, match="too many items that are no pictures"):
        stripped(broken, Strip.LOCATION)


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


def pages_with(tag: int, type_: int, count: int, value: bytes, pages: int) -> bytes:
    """A TIFF of pages whose tags all refer to the same value, at its end."""
    end = 8 + 18 * pages
    tables = (
        struct.pack("<HHHIII", 1, tag, type_, count, end, 8 + 18 * (page + 1) if page + 1 < pages else 0)
        for page in range(pages)
    )
    return b"II*\0\x08\0\0\0" + b"".join(tables) + value


def test_tags_that_share_one_value() -> None:
    """What is looked at is bounded by the file, not by how often it refers to itself."""
    for tag, value in ((700, XMP_OF_WORDS), (33723, iptc()), (34377, b"")):
        much = value.ljust(200_000, b"\0" if tag != 700 else b" ")
        few, many = (pages_with(tag, 1, len(much), much, pages) for pages in (3, 1_000))
        kept = stripped(many, Strip.LOCATION)
        assert PLACE not in kept
        assert kept[8 + 18 * 999 : 8 + 18 * 999 + 2] == bytes(2)  # no tag is left in the last table
        assert tag == 34377 or WORDS in stripped(few, Strip.LOCATION)
    with pytest.raises(Refused, match="share their values"):
        stripped(pages_with(273, 4, 10_000, bytes(40_000), 1_000), Strip.LOCATION)


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
