"""Pack what PyInstaller has collected into one file, for build-binary: pack.py BUILD_DIR TARGET [--with-x265]."""

import hashlib
import json
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import zlib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PREFIX = "imgpro-lite-"
MAX_MB = 80


def run(*command: str | Path) -> str:
    """What a program prints; a failure ends the build."""
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def list_libraries(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.so*") if path.is_file() and not path.is_symlink())


def strip(root: Path) -> None:
    """Remove what is only for debuggers: uvloop has 11 MB of it. Not from wheels' own libraries and what loads them:
    their tables were moved by patchelf, and `strip` would break them."""
    for path in list_libraries(root):
        if not path.parent.name.endswith(".libs") and ".libs]" not in run("readelf", "--dynamic", path):
            run("strip", "--strip-unneeded", path)


def leave_out_x265(root: Path) -> None:
    """Put no_x265.c in the place of libx265, after a look that libheif asks for nothing else of it."""
    (library,) = (path for path in list_libraries(root) if path.name.startswith("libx265"))
    (heif,) = (path for path in list_libraries(root) if path.name.startswith("libheif"))
    run("gcc", "-shared", "-fPIC", "-Os", "-s", "-o", library, f"-Wl,-soname,{library.name}", HERE / "no_x265.c")
    wanted = set(re.findall(r"\bx265_\w+", run("nm", "--dynamic", "--undefined-only", heif)))
    given = set(re.findall(r"\bx265_\w+", run("nm", "--dynamic", "--defined-only", library)))
    if wanted != given:
        sys.exit(f"libheif asks {sorted(wanted)} of libx265, and no_x265.c has {sorted(given)}.")


def gather_licenses(root: Path, left_out: list[str]) -> None:
    """Into licenses/: the texts of what comes neither with a package nor with ours, and licenses.json that lists it."""
    target = root / "licenses"
    target.mkdir()
    listed = []
    for item in [*list_interpreter(), *list_linked_libraries(), *list_system_libraries(root)]:
        file = re.sub(r"\W+", "-", item["name"]).strip("-") + ".txt"
        shutil.copyfile(item.pop("path"), target / file)
        listed.append(item | {"file": file})
    build = {"added": listed, "left_out": left_out}
    (target / "licenses.json").write_text(json.dumps(build, indent=1) + "\n")


def list_interpreter() -> Iterator[dict[str, Any]]:
    """Python, and the part of PyInstaller that starts it."""
    release, standard = platform.python_version(), Path(sysconfig.get_path("stdlib"))
    documents = Path(f"/usr/share/doc/python{sys.version_info.major}.{sys.version_info.minor}/copyright")
    path = next(path for path in (standard / "LICENSE.txt", documents) if path.is_file())
    source = "https://www.python.org"
    yield {"name": "Python", "version": release, "spdx": "PSF-2.0", "source": source, "path": path}
    path = next(Path(sysconfig.get_path("purelib")).glob("pyinstaller-*.dist-info/**/COPYING*"))
    spdx, source = "GPL-2.0-or-later WITH Bootloader-exception", "https://github.com/pyinstaller/pyinstaller"
    yield {"name": "PyInstaller", "version": version("pyinstaller"), "spdx": spdx, "source": source, "path": path}


def list_linked_libraries() -> Iterator[dict[str, Any]]:
    """What compile_launcher links launcher.c with."""
    for archive, name, spdx, texts in (
        ("libc.a", "glibc", "LGPL-2.1-or-later", ["LGPL-2.1"]),
        ("libz.a", "zlib", "Zlib", []),
    ):
        path = Path(run("gcc", f"-print-file-name={archive}").strip()).resolve()
        owner = find_owner(str(path))
        about = {"name": name, "version": find_version(owner), "spdx": spdx, "source": f"apt source {name}"}
        yield about | {"path": copyright_file(owner), "texts": texts}


def list_system_libraries(root: Path) -> Iterator[dict[str, Any]]:
    """The Debian packages that libraries of the building machine came from, with their copyright files."""
    system = re.compile(r"(?!libpython).*\.so[.\d]*")
    names = (path.name for path in root.glob("*.so*") if path.is_file() and not path.is_symlink())
    native = (name for name in names if system.fullmatch(name) and "cpython" not in name and ".abi3." not in name)
    for owner in sorted({find_owner(name) for name in native}):
        name = owner.partition(":")[0]
        about = {"name": name, "version": find_version(owner), "spdx": None, "source": f"apt source {name}"}
        yield about | {"path": copyright_file(owner)}


def find_version(owner: str) -> str:
    return run("dpkg-query", "--show", "--showformat", "${Version}", owner)


def copyright_file(owner: str) -> Path:
    return Path(f"/usr/share/doc/{owner.partition(':')[0]}/copyright")


def find_owner(library: str) -> str:
    """The package of a library by its path, or its file name; which directory it is in, /lib or /usr/lib, differs."""
    try:
        printed = run("dpkg-query", "--search", library if library.startswith("/") else f"*/{library}")
    except (OSError, subprocess.CalledProcessError):
        sys.exit(f"Whose is {library}, and under which licence? This build asks dpkg: run it on Debian or Ubuntu.")
    return printed.partition(": ")[0].partition(",")[0]


def list_entries(root: Path) -> Iterator[tuple[Path, str]]:
    """Everything in it, directories first, each with its kind as launcher.c has them."""
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            yield path, "l"
        elif path.is_dir():
            yield path, "d"
        else:
            yield path, "x" if path.stat().st_mode & 0o100 else "f"


def c_string(text: str) -> str:
    return json.dumps(text, ensure_ascii=True)


def write_payload(root: Path, folder: Path) -> None:
    """entries.h and payload.z, which launcher.c includes."""
    compressor = zlib.compressobj(9)
    hashed = hashlib.sha256()
    lines, size_bytes = [], 0
    with (folder / "payload.z").open("wb") as payload:
        for path, kind in list_entries(root):
            content = path.read_bytes() if kind in "fx" else b""
            target = c_string(str(path.readlink())) if kind == "l" else "0"
            lines.append(f"    {{{c_string(str(path.relative_to(root)))}, '{kind}', {len(content)}, {target}}},")
            payload.write(compressor.compress(content))
            hashed.update(lines[-1].encode() + hashlib.sha256(content).digest())
            size_bytes += len(content)
        payload.write(compressor.flush())
    content_name = f"{PREFIX}{version('imgpro-lite')}-{hashed.hexdigest()[:16]}"
    (folder / "entries.h").write_text(
        f"#define PREFIX {c_string(PREFIX)}\n#define CONTENT {c_string(content_name)}\n"
        f'#define PROGRAM "imgpro-lite"\n#define GLIBC {c_string(platform.libc_ver()[1])}\n'
        f"#define UNPACKED_BYTES {size_bytes}L\nstatic const struct entry entries[] = {{\n"
        + "\n".join(lines)
        + "\n};\n"
    )


def compile_launcher(folder: Path, target: Path) -> None:
    """launcher.c, with what write_payload has made in the folder."""
    found = ("-I", folder, f"-Wa,-I{folder}")
    run("gcc", "-static", "-O2", "-s", "-Wall", "-Wextra", *found, HERE / "launcher.c", "-o", target, "-lz")


def main() -> None:
    """Make the file, and say how large it is."""
    build, target = Path(sys.argv[1]), Path(sys.argv[2])
    root = build / "imgpro-lite"
    strip(root / "_internal")
    left_out = [] if "--with-x265" in sys.argv else ["x265"]
    if left_out:
        leave_out_x265(root / "_internal")
    gather_licenses(root / "_internal", left_out)
    write_payload(root, build)
    compile_launcher(build, target)
    unpacked = sum(path.lstat().st_size for path in root.rglob("*"))
    size_mb = target.stat().st_size / 1e6
    print(f"{target}: {size_mb:.1f} MB, unpacked {unpacked / 1e6:.0f} MB; for glibc {platform.libc_ver()[1]} or newer")
    if size_mb > MAX_MB:
        sys.exit(f"It may have {MAX_MB} MB at most.")


if __name__ == "__main__":
    main()
