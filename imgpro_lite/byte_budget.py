"""Memory that many share."""


class ByteBudget:
    """A number of bytes that may be in use together."""

    def __init__(self, limit_bytes: int) -> None:
        self._free_bytes = limit_bytes

    def take(self, count: int) -> bool:
        """Use as many bytes more, if there are; whether there were. Then `give_back` must follow."""
        if count > self._free_bytes:
            return False
        self._free_bytes -= count
        return True

    def give_back(self, count: int) -> None:
        """They are no longer in use."""
        self._free_bytes += count
