"""Versions of libraries against the holes that they are known to have. Nothing is asked over the network.

The table has what the comments beside the floors in pyproject.toml have; a test compares the two.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata

from imgpro_lite.imaging.jobs import Library
from imgpro_lite.services.diagnosis.finding import Area, Finding, Level

# Up to when holes are known to the table. It is also a day before which no clock can truly be.
KNOWN_UNTIL = "2026-11-23"


@dataclass(frozen=True)
class Hole:
    """A hole, and the version that mended it."""

    ids: tuple[str, ...]
    mended_in: str
    is_reachable: bool = True
    """Whether strangers could reach it here. Where the part that has it is not used, a hole is no failure."""


# By the name of the package.
PACKAGES: dict[str, tuple[Hole, ...]] = {
    "starlette": (Hole(("PYSEC-2026-249",), "1.3.1"), Hole(("CVE-2026-48710",), "1.0.1")),
    "uvicorn": (Hole(("CVE-2020-7695",), "0.11.7"),),
    "httptools": (Hole(("CVE-2022-32213",), "0.5"),),
    "python-multipart": (Hole(("CVE-2026-53540",), "0.0.31"), Hole(("CVE-2026-42561",), "0.0.27")),
    "httpx2": (Hole(("CVE-2026-84379", "CVE-2026-84380", "CVE-2026-84382"), "2.12"),),
    "pydantic": (Hole(("CVE-2024-3772",), "2.4"),),
    "jinja2": (Hole(("CVE-2025-27516",), "3.1.6", is_reachable=False),),
    "aiosmtplib": (Hole(("CVE-2026-55558",), "5.1.2"), Hole(("CVE-2026-53533",), "5.1.1")),
    "click": (Hole(("CVE-2026-7246",), "8.3.3", is_reachable=False),),
    "pillow": (
        Hole(("CVE-2026-54059", "CVE-2026-55379"), "12.3"),
        Hole(("CVE-2026-25990",), "12.1.1", is_reachable=False),
    ),
    "pillow-heif": (Hole(("CVE-2026-84383",), "1.7"), Hole(("CVE-2026-28231",), "1.3", is_reachable=False)),
    "pyyaml": (Hole(("CVE-2020-14343",), "5.4", is_reachable=False),),
    "markdown-it-py": (Hole(("CVE-2023-26302", "CVE-2023-26303"), "2.2", is_reachable=False),),
    "h11": (Hole(("CVE-2025-43859",), "0.16"),),
    "idna": (Hole(("CVE-2026-45409",), "3.15"),),
    "dnspython": (Hole(("CVE-2026-128089",), "2.9.2"),),
    "pygments": (Hole(("CVE-2026-4539",), "2.20", is_reachable=False),),
}

# By the name of the library inside a package, as the workers tell its version, with the package that brings it.
INSIDE: dict[tuple[str, str], tuple[Hole, ...]] = {
    ("libvips", "pyvips-binary"): (
        Hole(("CVE-2026-70652",), "8.18.3"),
        Hole(("CVE-2026-35590",), "8.18.2"),
        Hole(("CVE-2026-33327",), "8.18.1"),
        Hole(("CVE-2023-4863",), "8.14.5"),  # of the libwebp in it
    ),
    ("libheif", "pillow-heif"): (Hole(("CVE-2026-84383",), "1.23.4"),),
}


def check_holes(libraries: Sequence[Library]) -> list[Finding]:
    """Every known hole that something installed still has; one finding when there is none."""
    found = [*_in_packages(), *_inside(libraries)]
    if found:
        return found
    return [Finding(Level.OK, Area.UPDATES, f"No library has a hole that was known on {KNOWN_UNTIL}.")]


def _in_packages() -> Iterator[Finding]:
    for name, holes in PACKAGES.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # a single-file build may not know, and then has what it was built with
        yield from _check(name, version, holes, name)


def _inside(libraries: Sequence[Library]) -> Iterator[Finding]:
    for (name, package), holes in INSIDE.items():
        for library in libraries:
            if library.name == name and library.version and library.inside in (package, None):
                yield from _check(name, library.version, holes, package if library.inside else None)


def _check(name: str, version: str, holes: Sequence[Hole], package: str | None) -> Iterator[Finding]:
    open_holes = [hole for hole in holes if numbers_of(version) < numbers_of(hole.mended_in)]
    if not open_holes:
        return
    ids = ", ".join(hole_id for hole in open_holes for hole_id in hole.ids)
    newest = max((hole.mended_in for hole in open_holes), key=numbers_of)
    is_reachable = any(hole.is_reachable for hole in open_holes)
    yield Finding(
        Level.FAILURE if is_reachable else Level.WARNING,
        Area.UPDATES,
        f"update: {name} {version} has {ids}, mended in {newest}.",
        "Strangers can reach it with what they send." if is_reachable else "What has it is not used here.",
        f"pip install --upgrade {package}" if package else f"Install {name} {newest} or newer.",
    )


def numbers_of(version: str) -> tuple[int, ...]:
    """A version as numbers to compare: 8.18.3 is (8, 18, 3). What follows them, as in 1.2rc1, is not looked at."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:  # 13.0 is 13
        numbers.pop()
    return tuple(numbers)
