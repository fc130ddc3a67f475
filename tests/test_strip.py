"""What is taken out of pictures before they are stored: the place, or all metadata, and never a pixel."""

import io
import json
import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from conftest import Api
from hypothesis import given
from hypothesis import strategies as st
from images import REAL_IMAGES, make_image
from PIL import Image
from shared import serve
from telling import LATITUDES, PLACE, SOURCES, WORDS, XMP_OF_WORDS, exif, iptc, jpeg, save, segment
from wire import stored_blobs

from imgpro_lite.formats import SNIFF_BYTES, Format, sniff
from imgpro_lite.imaging.jobs import WITHOUT_METADATA, Refused
from imgpro_lite.imaging.strip import find_edits, texts
from imgpro_lite.imaging.strip.edits import apply
from imgpro_lite.imaging.strip.exif import clean
from imgpro_lite.models import Strip

needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not here")
needs_real_images = pytest.mark.skipif(not REAL_IMAGES.is_dir(), reason="the real images are not here")


def stripped(data: bytes, what: Strip) -> bytes:
    """What would be stored."""
    format_ = sniff(data[:SNIFF_BYTES])
    assert format_ is not None
    return apply(data, find_edits(data, format_, what))


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


def is_told(data: bytes) -> list[bytes]:
    return [text for text in (PLACE, *LATITUDES) if text in data]


def scans(data: bytes) -> bytes:
    """The coded pixels of a JPEG with the tables that decode them."""
    return data[data.index(b"\xff\xdb") : data.index(b"\xff\xd9", data.index(b"\xff\xda")) + 2]


# ── what goes and what stays ──


@pytest.mark.parametrize("what", Strip)
@pytest.mark.parametrize("source", SOURCES)
def test_what_is_left(source: str, what: Strip) -> None:
    data = SOURCES[source]()
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
    told = {sniff(make()[:SNIFF_BYTES]) for make in SOURCES.values()}
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
    data = SOURCES[source]()
    format_ = sniff(data[:SNIFF_BYTES])
    assert format_ is not None
    lengths = {*range(min(len(data), 1500)), *range(0, len(data), max(1, len(data) // 300))}
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
    data = SOURCES[source]()
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


# ── through the front door ──


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("data")) as api:
        yield api


def stored(api: Api, image: dict[str, Any], format_: str) -> bytes:
    """The original, as it is served."""
    answer = api.fetch(f"{image['src'].rpartition('.')[0]}.{format_}")
    assert answer.status_code == 200
    assert len(answer.content) == image["filesize"]
    return bytes(answer.content)


@pytest.mark.parametrize("source", ["jpeg", "png", "animated webp", "gif", "avif", "heic", "tiff"])
def test_an_anonymous_upload_tells_no_place(shared: Api, source: str) -> None:
    data, format_ = SOURCES[source](), source.split()[-1]
    kept = stored(shared, shared.upload(data).json(), format_)
    assert kept == stripped(data, Strip.LOCATION) != data
    assert is_told(kept) == []
    assert stored(shared, shared.upload(data, shared.new_key()).json(), format_) == data


def test_the_stored_file_is_what_counts(shared: Api) -> None:
    data, headers = jpeg(), shared.new_key()
    one = shared.upload(data).json()
    blobs = stored_blobs(shared)
    two = shared.upload(stripped(data, Strip.LOCATION), headers).json()
    assert stored_blobs(shared) == blobs
    assert one["filesize"] == two["filesize"] < len(data)
    assert shared.client.get("/v1/usage", headers=headers).json()["storage_used_bytes"] == two["filesize"]


def test_a_file_without_a_place_is_stored_as_it_was_sent(shared: Api) -> None:
    for format_ in ("jpeg", "png", "webp", "gif", "avif", "heic", "tiff", "bmp"):
        data = make_image(format_, 40, 30)
        assert stored(shared, shared.upload(data).json(), format_) == data


@pytest.mark.parametrize(
    ("settings", "anonymous", "with_key"),
    [
        ({"strip_location": "never"}, None, None),
        ({"strip_location": "always"}, Strip.LOCATION, Strip.LOCATION),
        ({"strip_metadata": "anonymous"}, Strip.METADATA, None),
        ({"strip_metadata": "anonymous", "strip_location": "always"}, Strip.METADATA, Strip.LOCATION),
        ({"strip_metadata": "always", "strip_location": "never"}, Strip.METADATA, Strip.METADATA),
    ],
)
def test_the_settings_decide(
    tmp_path: Path, settings: dict[str, str], anonymous: Strip | None, with_key: Strip | None
) -> None:
    data = jpeg()
    with serve(tmp_path / "data", uploads=settings) as api:
        for headers, what in ((None, anonymous), (api.new_key(), with_key)):
            expected = stripped(data, what) if what else data
            assert stored(api, api.upload(data, headers).json(), "jpeg") == expected


# ── real files, as exiftool sees them ──

_TOLD_OF_PLACES = ("gps", "city", "country", "province", "sub-location", "locationshown", "state")


def told_by_exiftool(folder: Path) -> dict[str, set[str]]:
    """The names of all that exiftool finds, by file."""
    command = ["exiftool", "-json", "-G1", "-a", "-u", "-ee", "-s", "-m"]
    names = sorted(path.name for path in folder.iterdir())
    done = subprocess.run([*command, *names], cwd=folder, capture_output=True, check=False, timeout=120)
    return {Path(facts["SourceFile"]).name: set(facts) for facts in json.loads(done.stdout)}


def is_of_a_place(name: str) -> bool:
    return any(word in name.lower() for word in _TOLD_OF_PLACES) and not name.startswith(("File", "ICC", "System"))


@pytest.mark.slow
@needs_exiftool
@pytest.mark.parametrize("what", Strip)
def test_exiftool_finds_nothing_in_pictures_of_tests(tmp_path: Path, what: Strip) -> None:
    for source, make in SOURCES.items():
        (tmp_path / f"{source}.before").write_bytes(make())
        (tmp_path / f"{source}.after").write_bytes(stripped(make(), what))
    check_by_exiftool(tmp_path, what, len(SOURCES))


@pytest.mark.slow
@needs_exiftool
@needs_real_images
@pytest.mark.parametrize("what", Strip)
def test_exiftool_finds_nothing_in_real_pictures(tmp_path: Path, what: Strip) -> None:
    """exiftool itself writes places into them, as many as their formats take, and looks for them afterwards."""
    names = [
        *("Landscape_6.jpg", "cmyk.jpg", "16-bit-grey-alpha.png", "p3.png", "alpha.webp", "rotating-squares.webp"),
        *("iphone.heic", "exif-xmp-iptc.heic", "three-images.heic", "ten-bit.heif", "small.avif"),
        *("avif-yuv444.avif", "lzw.tiff", "tifftag-photoshop.tiff", "rotating-squares.gif"),
    ]
    for name in names:
        shutil.copy(REAL_IMAGES / name, tmp_path / f"{name}.before")
    place = PLACE.decode()
    told = [f"-{tag}={place}" for tag in ("XMP:City", "XMP-photoshop:State", "IPTC:City", "IPTC:Sub-location")]
    told += ["-GPSLatitude=52.4582", "-GPSLatitudeRef=N", "-GPSLongitude=5.035", "-GPSLongitudeRef=E"]
    told += [f"-GPSAreaInformation={place}", f"-XMP-iptcExt:LocationShownCity={place}"]
    command = ["exiftool", "-q", "-m", "-overwrite_original", *told, *(f"{name}.before" for name in names)]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=120)
    for path in list(tmp_path.iterdir()):
        data = path.read_bytes()
        assert PLACE in data, path.name
        kept = stripped(data, what)
        assert PLACE not in kept, path.name
        path.with_suffix(".after").write_bytes(kept)
    check_by_exiftool(tmp_path, what, len(names))


def check_by_exiftool(folder: Path, what: Strip, count: int) -> None:
    found = told_by_exiftool(folder)
    before = [name for name in found if name.endswith(".before")]
    assert len(before) == count
    for name in before:
        assert [fact for fact in found[name] if is_of_a_place(fact)], name
        after = found[name.replace(".before", ".after")]
        assert [fact for fact in after if is_of_a_place(fact)] == [], name
        assert {fact for fact in found[name] if "Orientation" in fact and fact.startswith("IFD0")} <= after, name
        if what is Strip.METADATA:
            told = [fact for fact in after if fact.startswith(("XMP", "IPTC", "ExifIFD", "GPS", "Photoshop"))]
            assert told == [], name
