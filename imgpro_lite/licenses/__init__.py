"""What this program is made of, and under which licences: Python, the packages, and the native libraries inside.

The packages tell it themselves, when they are installed. What they do not tell of the libraries inside of them stands
in components.toml. The single-file build adds licenses.json, of what it takes from the machine that it was made on.
"""

import json
import platform
import re
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

_HERE = resources.files("imgpro_lite.licenses")
_OWN_NAME = "imgpro-lite"

# What packages write that are older than SPDX expressions; "BSD License" may be any of them.
_SPDX = {"MIT License": "MIT", "BSD License": "BSD-3-Clause", "Apache Software License": "Apache-2.0"}
_MAX_NAME_CHARS = 40  # of a licence; some packages have the text in its place
_LICENSE_FILE = re.compile(r"\.dist-info/(licenses/.+|(LICEN[CS]E|COPYING|NOTICE)[^/]*)", re.IGNORECASE)


@dataclass(frozen=True)
class Component:
    """Something with a licence: an SPDX expression where that is known. `texts` are complete, `inside` is the name of
    the package that has it in it, `source` an address where it is developed."""

    name: str
    version: str | None
    license: str | None
    inside: str | None
    source: str | None
    texts: tuple[str, ...]


def list_components() -> list[Component]:
    """Everything, the packages first, each followed by what is inside of it."""
    added, left_out = _of_build()
    packages = _of_packages()
    inside = [library for library in _inside(packages) if library.name not in left_out]
    found = [] if any(component.name == "Python" for component in added) else [_python()]
    for package in packages:
        found += [package, *(library for library in inside if library.inside == package.name)]
    return [*found, *added]


def _python() -> Component:
    """Of an installation; its package may have put the licence elsewhere."""
    path = Path(sysconfig.get_path("stdlib")) / "LICENSE.txt"
    texts = (path.read_text("utf-8"),) if path.is_file() else ()
    return Component("Python", platform.python_version(), "PSF-2.0", None, "https://www.python.org", texts)


def _of_packages() -> list[Component]:
    """This package and all that it requires, which are not all that are installed."""
    found: dict[str, Distribution] = {}
    waiting = [_OWN_NAME]
    while waiting:
        name = waiting.pop()
        try:
            package = distribution(name)
        except PackageNotFoundError:  # for another system, or another version of Python
            continue
        if package.name not in found:
            found[package.name] = package
            needed = [text for text in package.requires or [] if "extra ==" not in text]
            waiting += [re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in needed]
    others = sorted((name for name in found if name != _OWN_NAME), key=str.lower)
    return [_package(found[name]) for name in (_OWN_NAME, *others) if name in found]


def _package(package: Distribution) -> Component:
    metadata = package.metadata
    files = [file for file in package.files or [] if _LICENSE_FILE.search(str(file))]
    texts = tuple(file.read_text("utf-8") for file in files if Path(str(file.locate())).is_file())
    return Component(_canonical(package.name), package.version, _license(metadata), None, _source(metadata), texts)


def _source(metadata: Any) -> str | None:
    """Where it is developed, as far as that is told."""
    pairs = [text.partition(", ")[::2] for text in metadata.get_all("Project-URL") or []]
    told = {label.lower(): address for label, address in [*pairs, ("home-page", metadata["Home-page"])] if address}
    labels = ("source", "source code", "repository", "github", "code", "homepage", "home-page")
    return next((told[label] for label in labels if label in told), next(iter(told.values()), None))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _license(metadata: Any) -> str | None:
    """The expression, else the name of old times, else the classifier."""
    classifiers = metadata.get_all("Classifier") or []
    classified = [text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License :: ")]
    told = (metadata["License"] or "").strip().partition("\n")[0]
    named = metadata["License-Expression"] or (told if 0 < len(told) <= _MAX_NAME_CHARS else None)
    name = named or next(iter(classified), None)
    return _SPDX.get(name, name) if name else None


def _inside(packages: list[Component]) -> Iterator[Component]:
    """The native libraries of components.toml, as far as their packages are here."""
    here = {package.name: package for package in packages}
    for contents in tomllib.loads(_HERE.joinpath("components.toml").read_text("utf-8"))["package"]:
        if contents["name"] not in here:
            continue
        package = here[contents["name"]]
        for library in contents["library"]:
            notice = (library["copyright"],) if "copyright" in library else ()
            yield Component(
                library["name"],
                _version_inside(package, library["name"]),
                library["license"],
                package.name,
                library["source"],
                (*notice, *(_text(name) for name in library["texts"])),
            )


def _version_inside(package: Component, library: str) -> str:
    """pillow-heif names the sources of what is in it, as in "Source code: https://…/tree/v1.23.6"."""
    pattern = rf"^Name: {library}$(?:\n.+)*?\n *Source code: \S+/v?([\d.]+)$"
    told = re.search(pattern, "\n".join(package.texts), re.MULTILINE)
    return told[1] if told else f"as in {package.name} {package.version}"


def _text(name: str) -> str:
    if package := re.fullmatch(r"in (.+)", name):
        return f"Its licence is among those of {package[1]}: imgpro-lite licenses {package[1]}"
    return _HERE.joinpath("texts", f"{name}.txt").read_text("utf-8")


def _of_build() -> tuple[list[Component], set[str]]:
    """What the single-file build has from its machine, and the names of the libraries that it leaves out."""
    folder = Path(getattr(sys, "_MEIPASS", "")) / "licenses"
    if not getattr(sys, "frozen", False) or not folder.is_dir():
        return [], set()
    build = json.loads((folder / "licenses.json").read_text("utf-8"))
    added = []
    for item in build["added"]:
        own = (folder / item["file"]).read_text("utf-8")
        texts = (own, *(_text(name) for name in item.get("texts", ())))
        added.append(Component(item["name"], item["version"], item["spdx"], None, item["source"], texts))
    return added, set(build["left_out"])
