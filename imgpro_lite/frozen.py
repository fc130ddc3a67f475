"""The start of the single-file build, which scripts/build-binary makes of this package with PyInstaller."""

import os
import sys

# What PyInstaller's start adds to the environment.
_LIBRARY_PATH = "LD_LIBRARY_PATH"
_OWN_PREFIX = "_PYI_"


def start() -> None:
    """Be a worker when that is asked for, else the command line."""
    clean_environment()
    # process.FROZEN_SUBCOMMAND, whose module would cost a worker 0.1 s.
    if len(sys.argv) == 3 and sys.argv[1] == "imaging-worker":
        from imgpro_lite.imaging import worker

        worker.main(sys.argv[2])
        return
    from imgpro_lite.__main__ import run

    run()


def clean_environment() -> None:
    """Take out what is for this process alone, and was used when it started: programs that `exec` runs would load our
    libraries instead of their own."""
    given = os.environ.pop(f"{_LIBRARY_PATH}_ORIG", None)
    os.environ.pop(_LIBRARY_PATH, None)
    if given is not None:
        os.environ[_LIBRARY_PATH] = given
    for name in [name for name in os.environ if name.startswith(_OWN_PREFIX)]:
        del os.environ[name]
