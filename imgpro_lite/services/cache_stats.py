"""What the cache of variants holds, for the operator."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from imgpro_lite.formats import SIZES_PX
from imgpro_lite.imaging.jobs import PIPELINE_VERSION
from imgpro_lite.store.cache_files import CachedFile

# What `making.py` names variants.
_NAME = re.compile(r"[0-9a-f]{64}-(?P<size>full|[0-9]+)-q[0-9]+-v(?P<version>[0-9]+)\.(?P<format>[a-z]+)")
_SIZE_NAMES = {str(edge_px): name for name, edge_px in SIZES_PX.items()} | {"full": "full"}
_NS_PER_SECOND = 1_000_000_000


@dataclass
class Share:
    """A part of the cache."""

    variants: int = 0
    size_bytes: int = 0

    def add(self, file: CachedFile) -> None:
        """Count a file."""
        self.variants += 1
        self.size_bytes += file.size_bytes


@dataclass
class CacheStats:
    """All variants, and those of each format and size (`s`, `m`, `l`, `full`)."""

    total: Share = field(default_factory=Share)
    kinds: dict[tuple[str, str], Share] = field(default_factory=lambda: defaultdict(Share))
    outdated: Share = field(default_factory=Share)
    """Made by an earlier version of the pipeline: nobody will ask for these again."""
    least_recently_used_at: int | None = None


def summarize(files: Iterable[CachedFile]) -> CacheStats:
    """Count variants."""
    stats = CacheStats()
    for file in files:
        stats.total.add(file)
        used_at = file.used_at_ns // _NS_PER_SECOND
        stats.least_recently_used_at = min(used_at, stats.least_recently_used_at or used_at)
        name = _NAME.fullmatch(file.name)
        if name is None or name["size"] not in _SIZE_NAMES or int(name["version"]) != PIPELINE_VERSION:
            stats.outdated.add(file)
        else:
            stats.kinds[name["format"], _SIZE_NAMES[name["size"]]].add(file)
    return stats
