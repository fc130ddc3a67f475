"""What is taken out of pictures before they are stored, through the front door, and as exiftool sees it."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Api
from images import REAL_IMAGES, make_image, make_svg
from shared import serve
from telling import PLACE, SOURCES, is_told, jpeg, stripped, telling
from wire import stored_blobs

from imgpro_lite.models import Strip

needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not here")
needs_real_images = pytest.mark.skipif(not REAL_IMAGES.is_dir(), reason="the real images are not here")


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
    data, format_ = telling(source), source.split()[-1]
    kept = stored(shared, shared.upload(data).json(), format_)
    assert kept == stripped(data, Strip.LOCATION) != data
    assert is_told(kept) == []
    assert stored(shared, shared.upload(data, shared.new_key()).json(), format_) == data


def test_a_size_that_the_picture_does_not_exceed_is_the_original(shared: Api) -> None:
    """With all that it tells; the texts say so."""
    data = jpeg()
    image = shared.upload(data, shared.new_key()).json()
    assert shared.fetch(f"{image['src']}?size=l").content == data
    page = " ".join(shared.client.get("/").text.split())
    reference = " ".join(shared.client.get("/api/reference.md").text.split())
    assert "have none of it; a size that it does not exceed is the original" in page
    assert "in its own format, a size that the picture does not exceed is the original" in reference
    for extension in ("webp", "png"):
        assert is_told(shared.fetch(f"{image['src'].rpartition('.')[0]}.{extension}?size=l").content) == []


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
        ({}, Strip.LOCATION, None),
        pytest.param({"strip_location": "never"}, None, None, marks=pytest.mark.slow),
        pytest.param({"strip_location": "always"}, Strip.LOCATION, Strip.LOCATION, marks=pytest.mark.slow),
        pytest.param({"strip_metadata": "anonymous"}, Strip.METADATA, None, marks=pytest.mark.slow),
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
        check_texts(api, anonymous, with_key)


ON_THE_PAGE = {
    None: "it keeps what your camera wrote into it, such as the place and the time",
    Strip.LOCATION: "the place that your camera wrote into it is removed; the time and much else stay",
    Strip.METADATA: "what your camera wrote into it is removed, such as the place and the time",
}
IN_THE_REFERENCE = {
    None: "as they come, with everything that the camera wrote into them",
    Strip.LOCATION: "without the place where they were taken",
    Strip.METADATA: "without what cameras and programs wrote into them",
}


def check_texts(api: Api, anonymous: Strip | None, with_key: Strip | None) -> None:
    """People are told so where they upload, and programs in the documentation."""
    page = " ".join(re.sub("<[^>]+>", "", api.client.get("/").text).split())
    reference = " ".join(api.client.get("/api/reference.md").text.split())
    if anonymous is with_key:
        assert f"that of the original: {ON_THE_PAGE[with_key]}. Pictures" in page
        assert f"Pictures are stored {IN_THE_REFERENCE[with_key]}" in reference
    else:
        assert f"Without an API key {ON_THE_PAGE[anonymous]}. With a key {ON_THE_PAGE[with_key]}. Pictures" in page
        assert f"With a key pictures are stored {IN_THE_REFERENCE[with_key]}" in reference
        assert f"Without one they are stored {IN_THE_REFERENCE[anonymous]}" in reference


def test_a_picture_within_an_svg_has_no_metadata(shared: Api) -> None:
    data = jpeg()
    image = f'<image href="data:image/jpeg;base64,{base64.b64encode(data).decode()}" width="9" height="9"/>'
    document = stored(shared, shared.upload(make_svg(40, 30, image), shared.new_key()).json(), "svg")
    inside = re.search(rb"data:image/jpeg;base64,([^\"]+)", document)
    assert inside is not None
    assert base64.b64decode(inside[1]) == stripped(data, Strip.METADATA)


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
    for source in SOURCES:
        (tmp_path / f"{source}.before").write_bytes(telling(source))
        (tmp_path / f"{source}.after").write_bytes(stripped(telling(source), what))
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
