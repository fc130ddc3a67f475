"""What works on this machine, for the operator: the formats, the protections of the workers, and their limits.

Each part of the report is found by a function of its own; `cli/doctor.py` shows one section for each.
"""

import platform
import sqlite3
import ssl
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from imgpro_lite.errors import ImgProError, OperatorError
from imgpro_lite.formats import Format
from imgpro_lite.imaging import budget, sandbox
from imgpro_lite.imaging.capacity import share_out
from imgpro_lite.imaging.jobs import Inspected, Library, Transform
from imgpro_lite.imaging.pool import WorkerPool
from imgpro_lite.imaging.process import WorkerDied
from imgpro_lite.imaging.samples import EDGE_PX, Sample
from imgpro_lite.imaging.sandbox import Protection
from imgpro_lite.settings import ImagingSettings

# Of 255. Lossy samples come out up to 4 off, while a decoder that mistakes one YCbCr matrix for another is 24 off.
_TOLERANCE = 12

# Of variants that are only looked at for their colours.
_QUALITY = 80

_CORNERS = ("top left", "top right", "bottom left", "bottom right")

# What it means when a protection is not in force, and what to do about it.
_WITHOUT: dict[Protection, str] = {
    Protection.MEMORY_LIMIT: "A picture can make a worker take all of the memory. Limit the memory of the container "
    "or service; Linux also lets a process limit itself.",
    Protection.NO_CORE_DUMPS: "A worker that crashes may leave the picture it had in a core file. "
    "Start the server after `ulimit -c 0`.",
    Protection.FIRST_TO_GO: "When memory runs out, the system may end the server instead of a worker. "
    "On Linux, let it write below /proc/self.",
    Protection.DIES_WITH_SERVER: "When the server is killed, a worker ends only after the picture it is decoding. "
    "Only Linux can end it at once.",
    Protection.NO_NEW_PRIVILEGES: "A broken decoder could use setuid programs. Only Linux can forbid that; "
    "run the server as a user without rights.",
    Protection.NO_FILES: "A broken decoder could read and write what the server's user can, the images and the "
    "database among it. Use Linux 5.13 or newer with Landlock switched on (it is in /sys/kernel/security/lsm), "
    "in a container that allows its system calls.",
    Protection.NO_TCP: "Landlock does not forbid connections here; seccomp does, where it is in force. "
    "Use Linux 6.7 or newer.",
    Protection.NO_CALLS: "A broken decoder could open connections and start programs. "
    "Use Linux on x86-64 or arm64, in a container that allows seccomp filters.",
}


class _Wrong(Exception):
    """A picture came out, but not the right one."""


@dataclass(frozen=True)
class FormatCheck:
    """What became of one sample. `writes` is None where no variants of this kind are made; `problem` is empty when all
    went well."""

    format: Format
    sample: str
    library: str | None = None
    reads: bool = False
    writes: bool | None = None
    problem: str = ""


@dataclass(frozen=True)
class ProtectionCheck:
    """One protection of the workers. `advice` says what its absence means and what to do, and is empty otherwise."""

    name: str
    in_force: bool
    advice: str


@dataclass(frozen=True)
class LargestPicture:
    """The largest picture that is taken, in megapixels. `kind` is empty where it holds for the whole format."""

    format: Format
    kind: str
    megapixels: int


@dataclass(frozen=True)
class Workers:
    """How many workers a server would start, each with how many megabytes of address space."""

    count: int
    memory_mb: int


@dataclass(frozen=True)
class Report:
    """All that was found."""

    formats: list[FormatCheck]
    libraries: list[Library]
    protections: list[ProtectionCheck]
    workers: Workers
    largest_pictures: list[LargestPicture]

    @property
    def ok(self) -> bool:
        """Whether every format works."""
        return not any(check.problem for check in self.formats)


async def examine(settings: ImagingSettings, samples: Sequence[Sample]) -> Report:
    """Try everything out in a worker with the limits of those that `serve` starts. Raises OperatorError when no worker
    starts, or there is no place for temporary files."""
    count, memory_mb = share_out(settings, sandbox.count_cores(), sandbox.total_memory_mb())
    one_worker = settings.model_copy(update={"workers": 1, "worker_memory_mb": memory_mb})
    async with _running_pool(one_worker) as pool:
        protections = _check_protections(pool.protections)
        with _temporary_folder() as folder:
            formats = [await _check_format(pool, sample, Path(folder)) for sample in samples]
        libraries = await _list_libraries(pool)
    return Report(formats, libraries, protections, Workers(count, memory_mb), _list_largest(pool))


@asynccontextmanager
async def _running_pool(settings: ImagingSettings) -> AsyncIterator[WorkerPool]:
    pool = WorkerPool(settings)
    try:
        await pool.start()
    except (WorkerDied, OSError) as error:  # TimeoutError is an OSError
        raise OperatorError("The processes that decode pictures do not start; what they said is above.") from error
    try:
        yield pool
    finally:
        await pool.close()


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="imgpro-lite-")
    except OSError as error:
        raise OperatorError(f"There is no place for temporary files: {error}") from error


async def _check_format(pool: WorkerPool, sample: Sample, folder: Path) -> FormatCheck:
    """Read a sample, and write it in its own format where variants of that are made."""
    writes = False if sample.is_written else None
    try:
        seen = await _read(pool, sample, folder)
    except (ImgProError, OSError, _Wrong) as error:
        return FormatCheck(sample.format, sample.kind, writes=writes, problem=_reason(error))
    try:
        if sample.is_written:
            await _write(pool, sample, folder)
            writes = True
    except (ImgProError, OSError, _Wrong) as error:
        return FormatCheck(sample.format, sample.kind, seen.library, True, False, f"writing: {_reason(error)}")
    return FormatCheck(sample.format, sample.kind, seen.library, True, writes)


async def _read(pool: WorkerPool, sample: Sample, folder: Path) -> Inspected:
    """Take the sample as an upload is taken, and look at what it shows."""
    stored, sanitized = sample.path, None
    if sample.format == Format.SVG:
        stored = sanitized = folder / f"sanitized-{sample.path.name}"
    await pool.probe(sample.path, sample.format, sanitized=sanitized)
    seen = await pool.inspect(stored, sample.format)
    _compare(seen, sample)
    return seen


async def _write(pool: WorkerPool, sample: Sample, folder: Path) -> None:
    """Make a variant in the sample's own format, and look at that."""
    variant = folder / f"variant-{sample.path.name}"
    await pool.transform(sample.path, variant, Transform(sample.format, sample.format, None, _QUALITY))
    _compare(await pool.inspect(variant, sample.format), sample)


def _compare(seen: Inspected, sample: Sample) -> None:
    """Raise _Wrong when this is not what the sample shows."""
    if (seen.width, seen.height) != (EDGE_PX, EDGE_PX):
        raise _Wrong(f"it comes out as {seen.width} x {seen.height} pixels instead of {EDGE_PX} x {EDGE_PX}")
    if len(seen.corners) != sample.frames:
        raise _Wrong(f"it comes out with {len(seen.corners)} frames instead of {sample.frames}")
    for number, frame in enumerate(seen.corners):
        expected = sample.colours[::-1] if number % 2 else sample.colours
        for corner, colour, wanted in zip(_CORNERS, frame, expected, strict=True):
            if max(abs(a - b) for a, b in zip(colour, wanted, strict=True)) > _TOLERANCE:
                raise _Wrong(f"its colours are wrong: {corner} is {tuple(colour)} instead of {wanted}")


def _reason(error: Exception) -> str:
    """What went wrong, in the words of the library or the worker where there are any, in one line."""
    notes: list[str] = getattr(error, "__notes__", [])
    return " ".join(" ".join(notes or [str(error)]).split())


async def _list_libraries(pool: WorkerPool) -> list[Library]:
    """The libraries of this process and of the workers, with their versions."""
    ours = [
        Library("Python", platform.python_version()),
        Library("SQLite", sqlite3.sqlite_version),
        Library("OpenSSL", ssl.OPENSSL_VERSION.removeprefix("OpenSSL ")),
    ]
    try:
        return [*ours, *await pool.list_libraries()]
    except ImgProError:  # a worker that cannot even do this reads no format either, and that is told
        return [*ours, Library("libvips", None)]


def _check_protections(in_force: Sequence[str]) -> list[ProtectionCheck]:
    return [
        ProtectionCheck(protection, protection in in_force, "" if protection in in_force else _WITHOUT[protection])
        for protection in Protection
    ]


def _list_largest(pool: WorkerPool) -> list[LargestPicture]:
    """The limits that come from the memory of a worker and the settings."""
    needs = [(format_, "", mb) for format_, mb in budget.MB_PER_MEGAPIXEL.items()]
    needs += [
        (Format.JPEG, "progressive, 4:2:0", budget.PROGRESSIVE_JPEG_MB),
        (Format.JPEG, "progressive, 4:4:4", budget.PROGRESSIVE_JPEG_444_MB),
        (Format.PNG, "interlaced", budget.INTERLACED_PNG_MB),
    ]
    formats = list(Format)
    needs.sort(key=lambda need: formats.index(need[0]))
    return [LargestPicture(name, kind, budget.largest_megapixels(pool.limits, mb)) for name, kind, mb in needs]
