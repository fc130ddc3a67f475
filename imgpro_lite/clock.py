"""Wall-clock time, from one injected place (decision 50)."""

import time


class Clock:
    """The machine's wall clock. Deadlines use a monotonic clock instead; this one is for dates people see."""

    def now(self) -> int:
        """Unix time in whole seconds."""
        return int(time.time())
