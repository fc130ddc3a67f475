"""`imgpro-lite push` and `pull`: what arrives on the other side, in which order, and what is done again."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from images import REAL_IMAGES, make_animation, make_image, make_svg
from library import picture
from transfers import Site, lines_of, push, refusal, run_transfer, sha256, site, without_place

PLANS = {"free": {"label": "Free", "uploads_per_month": 2, "storage_mb": 5}}


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Site]]:
    with (
        site(tmp_path_factory.mktemp("near")) as near,
        site(tmp_path_factory.mktemp("far"), plans=PLANS) as far,
    ):
        yield near, far


@pytest.fixture
def near(sites: tuple[Site, Site]) -> Site:
    return sites[0].team()


@pytest.fixture
def far(sites: tuple[Site, Site]) -> Site:
    return sites[1].team()


# ── what is kept ──

FORMATS = ("jpeg", "png", "gif", "webp", "svg", "heic", "tiff", "bmp", "avif")


def test_every_format_arrives_as_it_is(near: Site, far: Site, tmp_path: Path) -> None:
    contents = {format_: make_image(format_, 24, 16) for format_ in FORMATS}
    contents["gif"], contents["svg"] = make_animation("gif", 8, 8, 3), make_svg(9, 9)
    for format_, content in contents.items():
        # The names of some say what they are, as those of cameras do; others say nothing, or something else.
        near.add(content, name={"heic": "IMG_1.HEIC", "bmp": "picture.tiff"}.get(format_, f"{format_}-picture"))
    result = push(near, far, tmp_path)
    assert result.exit_code == 0, result.stderr
    assert "9 copied" in result.stderr
    assert [without_place(image) for image in far.images()] == [without_place(image) for image in near.images()]
    by_name = {image["name"]: image for image in far.images()}
    for format_, content in contents.items():
        name = {"heic": "IMG_1.HEIC", "bmp": "picture.tiff"}.get(format_, f"{format_}-picture")
        if format_ != "svg":  # which was cleaned when it was stored
            assert sha256(far.original(by_name[name], format_)) == sha256(content)


def test_everything_that_is_said_of_an_image(near: Site, far: Site, tmp_path: Path) -> None:
    near.add(
        picture(1),
        name="größe, “x”.png",
        tags='["a,b", "c"]',
        namespace="holi-days",
        public="false",
        external_id="my/1 ü",
        date="-86400",
        metadata='{"n": 1.5, "list": [1, null, {"deep": true}], "text": "ü\\u2028"}',
    )
    near.add(picture(2), ttl="7200")
    assert push(near, far, tmp_path).exit_code == 0
    (ends, there), (ends_here, here) = far.images(), near.images()
    assert without_place(there) == without_place(here)
    assert there["list"] == [1, None, {"deep": True}]
    assert (there["public"], there["date"], there["external_id"]) == (False, -86400, "my/1 ü")
    assert abs(ends["expires_at"] - ends_here["expires_at"]) <= 5


def test_the_order_of_lists(near: Site, far: Site, tmp_path: Path) -> None:
    for number in range(12):
        near.add(make_image("png", 40 + 400 * (number % 3 == 0), 30), name=str(number))
    assert push(near, far, tmp_path).exit_code == 0
    assert far.names() == near.names() == [str(number) for number in reversed(range(12))]


def test_the_time_of_upload_as_date(near: Site, far: Site, tmp_path: Path) -> None:
    near.add(picture(1), name="new")
    near.add(picture(2), name="old", date="2020-01-01")
    (new, _) = near.images()
    assert push(near, far, tmp_path, "--created-as-date").exit_code == 0
    assert [image["date"] for image in far.images()] == [new["created_at"], 1_577_836_800]


def test_some_of_it(near: Site, far: Site, tmp_path: Path) -> None:
    for number, (namespace, tags) in enumerate([("one", "a,b"), ("one", "a"), ("two", "a,b")]):
        near.add(picture(number), name=str(number), namespace=namespace, tags=tags)
    assert push(near, far, tmp_path, "--namespace", "one", "--tags", "a,b").exit_code == 0
    assert far.names() == ["0"]
    assert push(near, far, tmp_path, "--namespace", "one").exit_code == 0
    assert far.names() == ["1", "0"]


def test_an_end_that_all_images_of_a_key_have_is_not_taken_along(sites: tuple[Site, Site], tmp_path: Path) -> None:
    near, far = sites[0].team("--name", "unverified"), sites[1].team()
    assert "expires_at" in near.add(picture(1))
    ends = [near.add(picture(2), ttl="7200")["expires_at"], near.add(picture(3), ttl="1d")["expires_at"]]
    result = push(near, far, tmp_path)
    assert (result.exit_code, "images end 30 days after their upload" in result.stderr) == (0, True)
    (day, hours, other) = far.images()
    assert "expires_at" not in other
    assert abs(hours["expires_at"] - ends[0]) <= 5
    assert abs(day["expires_at"] - ends[1]) <= 5


# ── again, and the other way ──


def test_running_again_copies_what_is_new(near: Site, far: Site, tmp_path: Path) -> None:
    first = near.add(picture(1), name="1")
    assert push(near, far, tmp_path, "--map", tmp_path / "map.csv").exit_code == 0
    near.add(picture(2), name="2")
    result = push(near, far, tmp_path, "--map", tmp_path / "map.csv")
    assert "To copy: 1 of 2 images, " in result.stderr
    assert "1 copied, 1 already there" in result.stderr
    assert far.names() == ["2", "1"]
    rows = list(csv.DictReader((tmp_path / "map.csv").read_text(encoding="utf-8").splitlines()))
    copy = far.images()[1]
    assert rows[0] == {
        "old_id": first["id"],
        "new_id": copy["id"],
        "old_src": first["src"],
        "new_src": copy["src"],
        "old_url": first["url"],
        "new_url": copy["url"],
    }
    assert len(rows) == 2
    assert result.stdout.splitlines() == [f"{near.images()[0]['url']} {far.images()[0]['url']}"]


def test_pull(near: Site, far: Site, tmp_path: Path) -> None:
    far.add(picture(1), name="1")
    where = ("--from", far.url)
    result = run_transfer(
        "pull", *where, state=tmp_path, IMGPRO_URL=near.url, IMGPRO_KEY=near.key, IMGPRO_FAR_KEY=far.key
    )
    assert result.exit_code == 0, result.output
    assert near.names() == ["1"]


def test_a_dry_run(near: Site, far: Site, tmp_path: Path) -> None:
    near.add(picture(1), name="1")
    assert push(near, far, tmp_path).exit_code == 0
    new = near.add(picture(2), name="2\u202e")
    (line,) = lines_of(push(near, far, tmp_path, "--dry-run", "--json"))
    assert line == {"id": new["id"], "outcome": "to be copied", "name": "2", "filesize": new["filesize"]}
    result = push(near, far, tmp_path, "--dry-run")
    assert result.stdout.split() == [new["id"], "0.3", "KB", "2"]
    assert "To copy: 1 of 2 images" in result.stderr
    assert far.names() == ["1"]


def test_an_external_id_that_is_there(near: Site, far: Site, tmp_path: Path) -> None:
    image = near.add(picture(1), external_id="x", name="new", tags="t", author="A")
    other = near.add(picture(2), external_id="y")
    there = far.add(picture(1), external_id="x", name="old")
    far.add(picture(3), external_id="y")
    result = push(near, far, tmp_path, "--json")
    assert result.exit_code == 1
    lines = {line["id"]: line for line in lines_of(result)}
    assert (lines[image["id"]]["outcome"], lines[image["id"]]["new"]["id"]) == ("already there", there["id"])
    assert lines[other["id"]]["outcome"] == "failed"
    assert "another picture with its external id" in lines[other["id"]]["error"]
    assert push(near, far, tmp_path, "--update").exit_code == 1
    changed = far.ask("GET", f"/v1/media/{there['id']}").json()
    assert (changed["name"], changed["tags"], changed["author"]) == ("new", ["t"], "A")
    assert len(far.images()) == 2


def test_fields_that_were_changed(near: Site, far: Site, tmp_path: Path) -> None:
    image = near.add(picture(1), name="1", tags="a", namespace="one")
    assert push(near, far, tmp_path).exit_code == 0
    near.ask("PATCH", f"/v1/media/{image['id']}", json={"name": "2", "tags": "", "public": False, "k": "v"})
    result = push(near, far, tmp_path, "--update")
    assert (result.exit_code, "1 updated" in result.stderr) == (0, True)
    (copy,) = far.images()
    assert without_place(copy) == without_place(near.images()[0])


def test_fields_that_were_cleared(near: Site, far: Site, tmp_path: Path) -> None:
    image = near.add(picture(1), date="2020-01-01", namespace="one", external_id="x", tags="a", gone="1", kept="2")
    near.add(picture(2), external_id="y")
    assert push(near, far, tmp_path).exit_code == 0
    cleared = dict.fromkeys(("date", "namespace", "external_id", "tags"))
    near.ask("PATCH", f"/v1/media/{image['id']}", json={**cleared, "metadata": {"gone": None}})
    assert push(near, far, tmp_path, "--update").exit_code == 0
    assert sorted(map(str, map(without_place, far.images()))) == sorted(map(str, map(without_place, near.images())))
    shown = str(far.images())
    assert ("kept" in shown, "gone" in shown) == (True, False)


# ── what is refused, and what stops it ──


def test_sides_that_are_one(near: Site, tmp_path: Path) -> None:
    image = near.add()
    assert "same key" in refusal(push(near, near, tmp_path))
    created = near.ask("POST", "/v1/keys", json={}).json()
    other = replace(near, url=near.url.replace("127.0.0.1", "localhost"), key=created["key"])
    assert image["id"] in refusal(push(near, other, tmp_path))
    assert len(near.images()) == 1


def test_keys_that_may_not(sites: tuple[Site, Site], near: Site, far: Site, tmp_path: Path) -> None:
    near.add()
    reading = sites[1].team("--verified", "--read-only")
    assert "The key for the destination lacks the ability write" in refusal(push(near, reading, tmp_path))
    wrong = far.with_key("img_live_wrong")
    assert "does not know the key" in refusal(push(near, wrong, tmp_path))
    assert "The source" in refusal(push(wrong, near, tmp_path))
    assert "IMGPRO_FAR_KEY" in refusal(run_transfer("push", "--to", far.url, "--server-key", "k", state=tmp_path))
    assert far.images() == []
    unverified = sites[1].team("--name", "unverified")
    assert "--unverified" in refusal(push(near, unverified, tmp_path))
    assert "for a limited time" in push(near, unverified, tmp_path, "--dry-run").stderr
    assert unverified.images() == []
    assert "1 copied" in push(near, unverified, tmp_path, "--unverified").stderr


def test_a_key_over_a_line_that_anybody_reads(near: Site, tmp_path: Path) -> None:
    """It is told before anything is sent; nothing is here, because of the journal."""
    (tmp_path / "other").write_text("no journal")

    def said_about(url: str) -> str:
        result = push(near, near, tmp_path, "--journal", tmp_path / "other", url=url)
        assert "no journal" in refusal(result)
        return result.stderr

    assert "unencrypted to http://images.example.com" in said_about("http://images.example.com")
    assert said_about("https://images.example.com") == said_about(near.url) == said_about("http://[::1]:1") == ""


def test_the_key_of_the_environment_is_for_its_server(near: Site, far: Site, tmp_path: Path) -> None:
    where = ("--server", near.url, "--to", far.url, "--key", far.key)
    result = run_transfer("push", *where, state=tmp_path, IMGPRO_URL="http://127.0.0.1:9", IMGPRO_KEY=near.key)
    assert "--server-key" in refusal(result)


def test_a_quota_stops_it_until_there_is_room(sites: tuple[Site, Site], near: Site, tmp_path: Path) -> None:
    far = sites[1].team("--verified", "--plan", "free")
    for number in range(6):  # which have a date, so that several are refused at the same time
        near.add(picture(number), date=str(number))
    result = push(near, far, tmp_path)
    assert result.exit_code == 1
    assert "The destination takes 2 of them this month" in result.stderr
    assert result.stderr.count("Monthly upload limit reached.") == 1
    assert "2 copied, " in result.stderr
    assert len(far.images()) == 2


def test_a_server_that_is_not_there(near: Site, far: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgpro_lite.client.transfer.patience.FIRST_PAUSE_SECONDS", 0.001)
    nowhere = replace(near, url="http://127.0.0.1:9", key="img_live_x")
    assert "The destination cannot be reached" in refusal(push(near, nowhere, tmp_path))
    assert "The source cannot be reached" in refusal(push(nowhere, far, tmp_path))


def test_the_journal_of_another_key(sites: tuple[Site, Site], near: Site, far: Site, tmp_path: Path) -> None:
    near.add()
    assert push(near, far, tmp_path).exit_code == 0
    (journal,) = tmp_path.rglob("*.jsonl")
    assert journal.stat().st_mode & 0o777 == 0o600
    renewed = far.with_key(far.ask("POST", "/v1/keys", json={}).json()["key"])
    assert f"--journal {journal}" in refusal(push(near, renewed, tmp_path))
    result = push(near, renewed, tmp_path, "--journal", journal)
    assert "1 already there" in result.stderr
    # The same journal for a team that has none of it: every image would pass for copied.
    assert "none of the last" in refusal(push(near, sites[1].team(), tmp_path, "--journal", journal))
    (tmp_path / "other").write_text("precious")
    assert "no journal" in refusal(push(near, far, tmp_path, "--journal", tmp_path / "other"))
    assert (tmp_path / "other").read_text() == "precious"


def test_a_destination_that_was_emptied(near: Site, far: Site, tmp_path: Path) -> None:
    near.add()
    assert push(near, far, tmp_path).exit_code == 0
    far.ask("DELETE", f"/v1/media/{far.images()[0]['id']}")
    assert "none of the last of them" in refusal(push(near, far, tmp_path))


@pytest.mark.skipif(not REAL_IMAGES.is_dir(), reason="there are no real pictures")
@pytest.mark.slow
def test_real_pictures(near: Site, far: Site, tmp_path: Path) -> None:
    def blobs(place: Site) -> set[str]:
        return {path.name for path in (place.data_dir / "blobs").rglob("*") if path.is_file()}

    before = blobs(near)
    for path in sorted(REAL_IMAGES.iterdir()):
        near.ask("POST", "/v1/upload", files={"file": (path.name, path.read_bytes())})
    assert push(near, far, tmp_path).exit_code == 0
    assert blobs(near) - before <= blobs(far)
    assert [without_place(image) for image in far.images()] == [without_place(image) for image in near.images()]
