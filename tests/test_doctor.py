"""`imgpro-lite doctor`: it says what works, what does not and why, and never claims more than it has seen."""

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import ApiFactory
from images import make_image

from imgpro_lite.cli.main import cli
from imgpro_lite.formats import CONVERTIBLE_TO, Format, sniff
from imgpro_lite.imaging.samples import RED_GREEN_BLUE_WHITE, Sample, list_samples
from imgpro_lite.imaging.sandbox import Protection
from imgpro_lite.services.doctor import FormatCheck, Report, examine
from imgpro_lite.settings import ImagingSettings
from imgpro_lite.store.data_dir import list_exposed

BMP = next(sample for sample in list_samples() if sample.format == Format.BMP)

# What a single-file build is to the server: one executable that also acts as a worker.
SINGLE_FILE_BUILD = """
import sys
sys.frozen, sys.executable = True, sys.argv.pop(1)
from imgpro_lite.cli.main import main
main()
"""


def run_doctor(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`imgpro-lite doctor …` in a process of its own, which must not end with a traceback."""
    return finish([sys.executable, "-m", "imgpro_lite", "doctor", *arguments], environment)


def run_doctor_without(folder: Path, sabotage: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same in a build whose workers lack something: `sabotage` runs in a worker before anything else."""
    worker = folder / "worker"
    lines = [f"#!{sys.executable}", "import sys", sabotage, "from imgpro_lite.imaging.worker import main"]
    worker.write_text("\n".join([*lines, "main(sys.argv[2])\n"]))
    worker.chmod(0o755)
    return finish([sys.executable, "-c", SINGLE_FILE_BUILD, str(worker), "doctor", *arguments], {})


def finish(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=os.environ | environment
    )
    assert "Traceback" not in done.stderr
    return done


def try_out(*samples: Sample, **settings: Any) -> list[FormatCheck]:
    """What is found about these samples."""
    report: Report = asyncio.run(examine(ImagingSettings(**settings), samples))
    assert report.ok == (not any(check.problem for check in report.formats))
    return report.formats


@pytest.fixture(scope="module")
def healthy() -> dict[str, Any]:
    """The report of this machine."""
    done = run_doctor("--json")
    assert (done.returncode, done.stderr) == (0, "")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


# --- a machine on which all is well


def test_every_format_is_read_and_those_of_variants_are_written(healthy: dict[str, Any]) -> None:
    checks = healthy["formats"]
    assert healthy["ok"] is True
    assert [check for check in checks if not check["reads"] or check["writes"] is False or check["problem"]] == []
    assert {check["format"] for check in checks} == {str(format_) for format_ in Format}
    written = {check["format"] for check in checks if check["writes"]}
    assert written == {str(format_) for format_ in CONVERTIBLE_TO} | {"gif"}


def test_it_says_who_decodes(healthy: dict[str, Any]) -> None:
    libraries = {library["name"]: library["version"] for library in healthy["libraries"]}
    by_sample = {(check["format"], check["sample"]): check["library"] for check in healthy["formats"]}
    assert by_sample["jpeg", "CMYK"] == by_sample["avif", "8 bit"] == by_sample["svg", "shapes"] == "libvips"
    assert by_sample["avif", "12 bit"] == by_sample["bmp", "24 bit"] == "Pillow"
    assert by_sample["heic", "HEVC, 10 bit"] == "pillow-heif"
    assert set(by_sample.values()) <= set(libraries)
    assert {"Python", "SQLite", "OpenSSL", "libheif", "libde265", "dav1d", "py-svg-hush"} <= set(libraries)
    assert [name for name, version in libraries.items() if not (version and version[0].isdigit())] == []


def test_it_tells_the_protections(healthy: dict[str, Any]) -> None:
    assert [check["name"] for check in healthy["protections"]] == [str(protection) for protection in Protection]
    # Each that is not in force comes with advice, the others without.
    assert [check for check in healthy["protections"] if check["in_force"] is bool(check["advice"])] == []
    assert {"name": "no core dumps", "in_force": True, "advice": ""} in healthy["protections"]


@pytest.mark.slow
def test_the_limits_are_those_of_the_settings(tmp_path: Path) -> None:
    config = tmp_path / "imgpro.toml"
    config.write_text("[imaging]\nworkers = 3\nworker_memory_mb = 590\nmax_megapixels = 70\n")
    report = json.loads(run_doctor("--config", str(config), "--json").stdout)
    assert report["workers"] == {"count": 3, "memory_mb": 590}
    largest = {(item["format"], item["kind"]): item["megapixels"] for item in report["largest_pictures"]}
    assert largest["jpeg", ""] == 70  # what the operator allows
    assert largest["avif", ""] == 20  # what 290 MB allow at 14.5 MB a megapixel
    assert largest["png", "interlaced"] == 36
    assert {format_ for format_, _kind in largest} == {str(format_) for format_ in Format}


def test_it_is_quiet_and_readable_and_leaves_nothing_behind(tmp_path: Path) -> None:
    data_dir, temporary = tmp_path / "none", tmp_path / "tmp"
    temporary.mkdir()
    done = run_doctor("--data-dir", str(data_dir), TMPDIR=str(temporary))
    assert (done.returncode, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert {"Formats", "Libraries", "Protections of the workers", "Limits of the workers"} <= set(lines)
    assert any(line.startswith("jpeg baseline yes yes libvips 8.") for line in lines)
    assert any(line.startswith("heic HEVC, 10 bit yes pillow-heif ") for line in lines)
    assert lines[-1].startswith(("All is well", "Every format works."))
    assert not data_dir.exists()
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_it_works_beside_a_running_server_and_warns_when_others_may_read_its_data(start: ApiFactory) -> None:
    api = start()
    assert list_exposed(api.data_dir) == []
    api.data_dir.chmod(0o755)
    (api.data_dir / "secret").chmod(0o640)
    result = CliRunner().invoke(cli, ["doctor", "--data-dir", str(api.data_dir)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    if sys.platform != "win32":
        assert f"Other users of this machine may read {api.data_dir} (mode 755)." in result.output
        assert f"Make it private: chmod 750 {api.data_dir}\n" in result.output
        assert f"chmod 600 {api.data_dir}/secret\n" in result.output
        assert "All is well" not in result.output
    assert api.upload(make_image("jpeg", 9, 9)).status_code == 201


# --- one on which it is not


def test_a_missing_library_is_told_and_the_rest_still_tried(tmp_path: Path) -> None:
    done = run_doctor_without(tmp_path, "sys.modules['pillow_heif'] = None", "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["ok"] is False
    by_sample = {(check["format"], check["sample"]): check for check in report["formats"]}
    heic, jpeg = by_sample["heic", "HEVC, 8 bit"], by_sample["jpeg", "baseline"]
    assert (heic["reads"], heic["writes"], heic["library"]) == (False, None, None)
    assert "pillow_heif" in heic["problem"]
    assert (jpeg["reads"], jpeg["writes"], jpeg["problem"]) == (True, True, "")
    assert {"name": "libheif", "version": None, "inside": "pillow-heif"} in report["libraries"]


def test_what_is_wrong_is_shown_and_what_to_do(tmp_path: Path) -> None:
    sabotage = "sys.modules['pillow_heif'] = None\n"
    sabotage += "from imgpro_lite.imaging import sandbox; sandbox.enter = lambda memory_mb: []"
    done = run_doctor_without(tmp_path, sabotage)
    assert done.returncode == 1
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "heic HEVC, 8 bit no" in lines
    assert any(line.startswith("heic, HEVC, 8 bit: ModuleNotFoundError") for line in lines)
    for protection in Protection:
        assert f"{protection} no" in lines
        assert any(line.startswith(f'Without "{protection}": ') and len(line) > 80 for line in lines)
    assert "samples fail" in lines[-2]
    assert "pip install" in lines[-1]


@pytest.mark.slow
def test_missing_protections_are_no_failure(tmp_path: Path) -> None:
    sabotage = "from imgpro_lite.imaging import sandbox; sandbox._enter_landlock = lambda libc: []"
    done = run_doctor_without(tmp_path, sabotage)
    assert done.returncode == 0
    assert "not in force; see above" in done.stdout.splitlines()[-1]
    assert f'Without "{Protection.NO_FILES}": ' in done.stdout


def test_workers_that_do_not_start(tmp_path: Path) -> None:
    done = run_doctor_without(tmp_path, "sys.exit('no libvips here')")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no libvips here" in done.stderr
    assert "do not start" in done.stderr.splitlines()[-1]


# --- a sample that does not come out right


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            {"colours": RED_GREEN_BLUE_WHITE[::-1]},
            "its colours are wrong: top left is (255, 0, 0) instead of (255, 255",
        ),
        ({"frames": 2}, "it comes out with 1 frames instead of 2"),
        ({"path": BMP.path.with_name("nothing.bmp")}, "No such file"),
        ({"path": BMP.path.with_name("lossy.webp")}, "UnidentifiedImageError"),
    ],
)
def test_reading(change: dict[str, Any], problem: str) -> None:
    (check,) = try_out(dataclasses.replace(BMP, **change))
    assert (check.reads, check.writes) == (False, None)
    assert problem in check.problem


def test_another_size(tmp_path: Path) -> None:
    (tmp_path / "small.png").write_bytes(make_image("png", 9, 7))
    (check,) = try_out(Sample(Format.PNG, "small", tmp_path / "small.png"))
    assert check.problem == "it comes out as 9 x 7 pixels instead of 32 x 32"


def test_a_colour_that_is_only_nearly_right(tmp_path: Path) -> None:
    """What the conversion of a decoder that confuses two YCbCr matrices makes of red (BT.601 read as BT.709)."""
    nearly = ((255, 25, 0), *RED_GREEN_BLUE_WHITE[1:])
    assert "top left" in try_out(dataclasses.replace(BMP, colours=nearly))[0].problem


def test_writing() -> None:
    """Nothing makes BMPs."""
    broken, fine = try_out(dataclasses.replace(BMP, is_written=True), BMP)
    assert (broken.reads, broken.writes, broken.library) == (True, False, "Pillow")
    assert broken.problem == "writing: ValueError: bmp is not made from other formats"
    assert (fine.reads, fine.writes, fine.problem) == (True, None, "")


def test_too_slow() -> None:
    (check,) = try_out(BMP, transform_deadline_seconds=0.0001)
    assert check.problem == "It took longer than 0.0001 s."


# --- the samples


def test_the_samples_are_what_they_are_called() -> None:
    readme = (BMP.path.parent / "README.md").read_text("utf-8")
    for sample in list_samples():
        content = sample.path.read_bytes()
        assert sniff(content) == sample.format
        assert len(content) < 4096
        assert f"`{sample.path.name}`" in readme


def test_every_sample_file_is_used() -> None:
    files = {path for path in BMP.path.parent.iterdir() if path.suffix not in (".py", ".md") and path.is_file()}
    assert files == {sample.path for sample in list_samples()}


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("progressive.jpeg", b"\xff\xc2"),  # start of a progressive frame
        ("baseline.jpeg", b"\xff\xc0"),
        ("cmyk.jpeg", b"\xff\xc0\x00\x14\x08\x00\x20\x00\x20\x04"),  # 32 x 32, four components
        ("16-bit.png", b"IHDR\x00\x00\x00\x20\x00\x00\x00\x20\x10"),
        ("interlaced.png", b"IHDR\x00\x00\x00\x20\x00\x00\x00\x20\x08\x02\x00\x00\x01"),
        ("lossy.webp", b"VP8 "),
        ("lossless.webp", b"VP8L"),
        ("animated.webp", b"ANMF"),
        ("8-bit.heic", b"hvc1"),
        ("8-bit.heic", b"pixi\x00\x00\x00\x00\x03\x08\x08\x08"),
        ("10-bit.heic", b"pixi\x00\x00\x00\x00\x03\x0a\x0a\x0a"),
        ("8-bit.avif", b"pixi\x00\x00\x00\x00\x03\x08\x08\x08"),
        ("10-bit.avif", b"pixi\x00\x00\x00\x00\x03\x0a\x0a\x0a"),
        ("12-bit.avif", b"pixi\x00\x00\x00\x00\x03\x0c\x0c\x0c"),
        ("lzw.tiff", b"\x03\x01\x03\x00\x01\x00\x00\x00\x05\x00"),  # tag 259, compression: 5 is LZW
    ],
)
def test_a_sample_is_of_its_kind(name: str, fact: bytes) -> None:
    assert fact in (BMP.path.parent / name).read_bytes()
