"""What some servers have in their OpenAPI document beside the rest. It is named before the document is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Overlay:
    """Files of the directory `api_document` of another package, each to be laid over the document."""

    package: str
    names: tuple[str, ...]
    facts: Mapping[str, Any]
    """What they take beside the facts of every document."""
