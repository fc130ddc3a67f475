"""The settings of mail: what may be written, and that mistakes are told without the password."""

import json
from pathlib import Path

import pytest

from imgpro_lite.config import load
from imgpro_lite.errors import ConfigError
from imgpro_lite.settings import Settings


def load_toml(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "imgpro.toml"
    path.write_text(text, "utf-8")
    return load(path, {}, {}).settings


def problem_of(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_toml(tmp_path, text)
    (said,) = caught.value.problems
    return said.split(": ", 2)[2]  # without file and setting


@pytest.mark.parametrize(
    "mailbox",
    [
        "",
        "images@example.com",
        "images@localhost",
        "jos\u00e9@b\u00fccher.example",
        "Images <images@example.com>",
        "Bilder, f\u00fcr alle <images@example.com>",
        "<images@example.com>",
    ],
)
def test_senders(tmp_path: Path, mailbox: str) -> None:
    assert load_toml(tmp_path, f"[mail]\nfrom = {json.dumps(mailbox)}").mail.from_ == mailbox


@pytest.mark.parametrize(
    "mailbox",
    [
        "images",
        "@example.com",
        "images@",
        "a b@example.com",
        "Images images@example.com",
        "Images <images>",
        "Images <images@example.com> more",
        "<<images@example.com>",
        "a@example.com, b@example.com",
        "a@b@example.com",
        f"{'a' * 65}@example.com",
        "Images\u202e <images@example.com>",
    ],
)
def test_what_is_no_sender(tmp_path: Path, mailbox: str) -> None:
    said = problem_of(tmp_path, f"[mail]\nfrom = {json.dumps(mailbox)}")
    assert said == "must be like images@example.com or Our Images <images@example.com>"


@pytest.mark.parametrize("contact", ["nobody", "Ops <ops@example.com>", "https://example.com/help", "a@b.c, d@e.f"])
def test_the_contact_is_an_address(tmp_path: Path, contact: str) -> None:
    """Mail is sent to it."""
    said = problem_of(tmp_path, f"[server]\ncontact = {json.dumps(contact)}")
    assert said == "must be an e-mail address like images@example.com"


@pytest.mark.parametrize("setting", ['tls = "ssl"', "port = 0", "timeout_seconds = 0", 'host = "a\\nb"'])
def test_other_mistakes(tmp_path: Path, setting: str) -> None:
    assert problem_of(tmp_path, f"[mail]\n{setting}").startswith("must ")


def test_a_password_is_never_shown(tmp_path: Path) -> None:
    assert "4711" not in problem_of(tmp_path, "[mail]\npassword = 4711")
    assert "4711" not in problem_of(tmp_path, '[mail]\npassword = "4711\\n"')
    assert "hunter2" not in repr(load_toml(tmp_path, '[mail]\npassword = "hunter2"'))
