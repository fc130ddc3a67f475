"""Configuration of other programs from the dashboard, with a key that is made for it or was just made."""

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Api
from images import make_image
from library import new_email
from shared import serve
from signing_in import Browser, Shown, signed_in

from imgpro_lite.logs import TextFormatter
from imgpro_lite.services.upload_helpers import UploadTarget, upload_helpers

HELPERS, FILE, KEYS = "/dashboard/helpers", "/dashboard/helpers/file", "/dashboard/keys"
KEY = re.compile(r"img_live_[A-Za-z0-9]{32}")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("shared")) as api:
        yield api


@pytest.fixture(scope="module")
def owner(shared: Api) -> Browser:
    return signed_in(shared, email=new_email())[0]


def make(browser: Browser, program: str) -> str:
    """Press the button of a program: the key in what is shown."""
    answer = browser.client.post(HELPERS, data={"csrf": browser.open(HELPERS).csrf, "program": program})
    (key,) = set(KEY.findall(answer.text))
    assert Shown(answer).form(FILE) == {"csrf": Shown(answer).form(FILE)["csrf"], "program": program, "key": key}
    return key


def download(browser: Browser, **fields: str) -> Any:
    return browser.client.post(FILE, data={"csrf": browser.open(HELPERS).csrf, **fields})


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_it_is_for_those_who_are_signed_in(shared: Api) -> None:
    answer = Browser.at(shared).get(HELPERS)
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/sign-in?next=%2Fdashboard%2Fhelpers")


@pytest.mark.parametrize("program", upload_helpers())
def test_a_program_gets_a_key_that_only_uploads(
    shared: Api, owner: Browser, caplog: pytest.LogCaptureFixture, program: str
) -> None:
    caplog.set_level(logging.INFO)
    before = owner.open(HELPERS)
    assert not KEY.search(owner.get(HELPERS).text)
    helper = upload_helpers()[program]
    assert f"Make a key for {helper.label}" in before.text
    key = make(owner, program)
    assert shared.client.get("/v1/usage", headers=bearer(key)).status_code == 403
    assert shared.upload(make_image("png", 9, 9), bearer(key)).status_code == 201
    assert f"{helper.label} key_" in owner.open(KEYS).text
    file = download(owner, program=program, key=key)
    assert file.status_code == 200
    assert file.text == helper.text(UploadTarget("http://localhost:4647", key))
    assert file.headers["content-disposition"] == f'attachment; filename="{helper.file_name}"'
    assert file.headers["cache-control"] == "no-store"
    assert key not in owner.get(HELPERS).text + owner.get(KEYS).text  # a second time
    assert key not in "".join(map(TextFormatter().format, caplog.records))


def test_the_configuration_of_sharex_is_what_it_reads(owner: Browser) -> None:
    key = make(owner, "sharex")
    uploader = json.loads(download(owner, program="sharex", key=key).text)
    assert uploader["Headers"] == bearer(key)
    assert uploader["RequestURL"] == "http://localhost:4647/v1/upload"


def test_only_keys_of_the_own_team_get_into_files(shared: Api, owner: Browser) -> None:
    key = make(owner, "curl")
    stranger, theirs = signed_in(shared, email=new_email())
    assert download(stranger, program="curl", key=key).status_code == 403
    for wrong in ("", "img_live_" + "x" * 32, '"; rm -rf ~'):
        assert download(owner, program="flameshot", key=wrong).status_code == 401
    assert download(owner, program="flameshot", key=theirs["key"]).status_code == 403
    for program in ("", "emacs", "../curl"):
        assert download(owner, program=program, key=key).status_code == 400
        csrf = owner.open(HELPERS).csrf
        assert owner.client.post(HELPERS, data={"csrf": csrf, "program": program}).status_code == 400


def test_forms_of_others_make_nothing(shared: Api, owner: Browser) -> None:
    reader, _ = signed_in(shared, "--read-only", email=new_email())
    page = reader.open(HELPERS)
    assert [form for form in page.forms if form.action == HELPERS] == []
    before = owner.get(KEYS).text.count("key_")
    for path in (HELPERS, FILE):
        assert reader.client.post(path, data={"csrf": page.csrf, "program": "curl"}).status_code == 403
        assert owner.client.post(path, data={"program": "curl"}).status_code == 403
        other = {"csrf": owner.open(HELPERS).csrf, "program": "curl"}
        headers = {"Sec-Fetch-Site": "cross-site"}
        assert owner.client.post(path, data=other, headers=headers).status_code == 403
    assert owner.get(KEYS).text.count("key_") == before


def test_a_new_key_is_offered_to_every_program(owner: Browser) -> None:
    page = Shown(owner.submit(owner.open(KEYS), KEYS, name="mine", write="on"))
    forms = [form for form in page.forms if form.action == FILE]
    assert [form.hidden["program"] for form in forms] == list(upload_helpers())
    answer = owner.client.post(FILE, data=forms[0].hidden)
    assert json.loads(answer.text)["Headers"] == bearer(forms[0].hidden["key"])
    page = Shown(owner.submit(owner.open(KEYS), KEYS, name="mine", read="on"))
    assert [form for form in page.forms if form.action == FILE] == []  # it may not upload
