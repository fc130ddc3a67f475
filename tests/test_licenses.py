"""What the program says of itself: everything that it is made of, with its licence and the text of it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import run_main
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from test_supply_chain import PROJECT, applies


def list_all() -> list[dict[str, Any]]:
    code, out, err = run_main("licenses", "--json")
    assert (code, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


def test_every_package_is_named_with_its_licence_and_text() -> None:
    components = list_all()
    packages = {component["name"]: component for component in components if component["inside"] is None}
    required = [Requirement(text) for text in PROJECT["dependencies"]]
    assert {canonicalize_name(needed.name) for needed in required if applies(needed)} <= packages.keys()
    assert {"Python", "imgpro-lite", "anyio", "pydantic-core"} <= packages.keys()
    assert not {"pytest", "ruff", "schemathesis", "pip"} & packages.keys()
    assert [component["name"] for component in components if not component["license"]] == []
    assert [name for name, component in packages.items() if not component["texts"] and name != "Python"] == []


def test_the_libraries_inside_of_packages_are_named() -> None:
    inside = {(component["inside"], component["name"]): component for component in list_all()}
    assert {("pyvips-binary", "glib"), ("pyvips-binary", "librsvg"), ("pillow", "libwebp")} <= inside.keys()
    libde265 = inside["pillow-heif", "libde265"]
    assert libde265["license"] == "LGPL-3.0-or-later"
    assert libde265["version"][0].isdigit()
    assert libde265["source"].startswith("https://")
    assert "GNU LESSER GENERAL PUBLIC LICENSE" in libde265["texts"][0]
    assert "GNU GENERAL PUBLIC LICENSE" in libde265["texts"][1]  # which the other one is an addition to


def test_the_table_and_the_texts() -> None:
    code, out, _ = run_main("licenses")
    assert code == 0
    assert "x265" in out
    assert "GPL-2.0-or-later" in out
    code, out, _ = run_main("licenses", "LibDe265")
    assert code == 0
    assert out.count("=" * 80) == 2
    assert "GNU LESSER GENERAL PUBLIC LICENSE" in out
    assert len(run_main("licenses", "--full")[1]) > 300_000


def test_a_name_that_is_not_there() -> None:
    code, out, err = run_main("licenses", "libnothing")
    assert (code, out) == (1, "")
    assert err == "imgpro-lite: Nothing here is called libnothing. `imgpro-lite licenses` lists everything.\n"


def test_the_single_file_adds_what_it_has_of_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "licenses"
    folder.mkdir()
    (folder / "libssl3.txt").write_text("do as you like")
    added = {"name": "libssl3", "version": "3.0", "spdx": None, "source": "apt source libssl3", "file": "libssl3.txt"}
    glibc = {"name": "glibc", "version": "2.36", "spdx": "LGPL-2.1-or-later", "source": "apt source glibc"}
    (folder / "glibc.txt").write_text("whose it is")
    listed = [added, glibc | {"file": "glibc.txt", "texts": ["LGPL-2.1"]}]
    (folder / "licenses.json").write_text(json.dumps({"added": listed, "left_out": ["x265"]}))
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "_MEIPASS", str(tmp_path), raising=False)
    components = {component["name"]: component for component in list_all()}
    assert components["libssl3"]["texts"] == ["do as you like"]
    copyright_, license_ = components["glibc"]["texts"]
    assert copyright_ == "whose it is"
    assert "GNU LESSER GENERAL PUBLIC LICENSE" in license_
    assert "x265" not in components
    assert "do as you like" in run_main("licenses", "libssl3")[1]
    shown = run_main("licenses")[1]
    assert str(tmp_path) in shown
    assert "scripts/binary/launcher.c" in shown  # which is linked with glibc
