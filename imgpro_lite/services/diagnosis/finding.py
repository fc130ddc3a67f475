"""What `doctor` finds, apart from the formats."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"  # to be known
    WARNING = "warning"  # something does not work as it should, or may stop doing so
    FAILURE = "failure"  # the server cannot do its work, or strangers may harm it


class Area(StrEnum):
    """What a finding is about; the title of its section."""

    UPDATES = "Updates"
    DISK = "Disk"
    ACCESS = "Access"
    CLOCK = "Clock"
    CONFIGURATION = "Configuration"
    SYSTEM = "System"


@dataclass(frozen=True)
class Finding:
    """What was found, why it matters and what to do. The last two are empty when all is well."""

    level: Level
    area: Area
    what: str
    why: str = ""
    todo: str = ""
