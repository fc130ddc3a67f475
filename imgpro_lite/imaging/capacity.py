"""How many workers a machine gets, and how much memory each."""

from imgpro_lite.settings import ImagingSettings

# A worker below this could decode next to nothing: 300 MB are mapped before it starts (budget.py).
_LEAST_WORKER_MB = 512
_MOST_WORKER_MB = 1024


def share_out(settings: ImagingSettings, cores: int, total_memory_mb: int) -> tuple[int, int]:
    """How many workers, and the megabytes of address space for each. Together they take at most half of the memory, as
    long as that is enough for one."""
    half_mb = total_memory_mb // 2
    count = settings.workers or max(1, min(cores, half_mb // _LEAST_WORKER_MB))
    memory_mb = settings.worker_memory_mb or max(_LEAST_WORKER_MB, min(_MOST_WORKER_MB, half_mb // count))
    return count, memory_mb
