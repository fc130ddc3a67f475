"""What `doctor` looks at beside the formats: updates, disk, access, clock, configuration and system.

Nothing is asked over the network, nothing is changed, and everything is told that cannot be found out. It may run
beside a server, as another user, and where there is no library yet.
"""

from collections.abc import Sequence
from pathlib import Path

from imgpro_lite.clock import Clock
from imgpro_lite.imaging.jobs import Library
from imgpro_lite.services.diagnosis.access import check_access
from imgpro_lite.services.diagnosis.configuration import check_configuration
from imgpro_lite.services.diagnosis.disk import check_disk
from imgpro_lite.services.diagnosis.finding import Finding
from imgpro_lite.services.diagnosis.holes import check_holes
from imgpro_lite.services.diagnosis.system import check_system
from imgpro_lite.services.diagnosis.times import check_clock
from imgpro_lite.settings import Settings


def diagnose(settings: Settings, config_path: Path | None, libraries: Sequence[Library], clock: Clock) -> list[Finding]:
    """Everything that was found, area by area."""
    directory = settings.data_dir.absolute()
    return [
        *check_holes(libraries),
        *check_disk(settings),
        *check_access(directory, config_path),
        *check_clock(directory, clock),
        *check_configuration(settings),
        *check_system(settings),
    ]
