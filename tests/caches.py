"""Caches as tests fill, read and damage them."""

import os
import time
from pathlib import Path

from imgpro_lite.store.cache import VariantCache
from imgpro_lite.store.cache_files import HALF_MADE_SECONDS

NOW = 1_700_000_000
CAP_BYTES = 1000
FILE_BYTES = 100  # ten of them fit


def open_cache(data_dir: Path, max_bytes: int = CAP_BYTES) -> VariantCache:
    """A cache as a server has it after a start."""
    cache = VariantCache(data_dir / "cache", max_bytes)
    cache.prepare()
    return cache


def open_beside(data_dir: Path) -> VariantCache:
    """The same files, as a command has them beside the server."""
    cache = VariantCache(data_dir / "cache", 1000 * CAP_BYTES)
    cache.prepare(beside_server=True)
    return cache


def name_of(number: int) -> str:
    return f"{number:02x}-variant.webp"


def add(cache: VariantCache, number: int, *, at: int = NOW, size_bytes: int = FILE_BYTES) -> Path:
    temporary = cache.temporary(name_of(number))
    temporary.write_bytes(bytes([number]) * size_bytes)
    return cache.adopt(temporary, name_of(number), at)


def read(cache: VariantCache, number: int) -> bytes | None:
    """The bytes of a variant, as a request reads them."""
    descriptor = cache.open(name_of(number), NOW)
    if descriptor is None:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def make_old(path: Path) -> None:
    """Let a file be older than anything that is being made."""
    at = time.time() - HALF_MADE_SECONDS - 1
    os.utime(path, (at, at))


def kept(cache: VariantCache) -> set[int]:
    """The numbers of the files on disk."""
    return {int(path.name[:2], 16) for path in cache.root.rglob("*") if path.is_file()}


def disk_bytes(cache: VariantCache) -> int:
    return sum(path.stat().st_size for path in cache.root.rglob("*") if path.is_file())


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": content[:-1], "longer": content + b"x"}[how])
