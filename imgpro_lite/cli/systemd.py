"""`imgpro-lite systemd`: a unit for this installation, in which the server has what it needs and nothing else."""

import os
import re
import shlex
import sys
from pathlib import Path

import rich_click as click

from imgpro_lite.cli.options import configuration_options, load
from imgpro_lite.cli.output import echo
from imgpro_lite.cli.systemd_unit import Installation, unit_text
from imgpro_lite.errors import OperatorError
from imgpro_lite.settings import Settings

# What systemd makes and owns for the service, and where backups look for it.
_DATA_DIR = Path("/var/lib/imgpro-lite")
_USER = "imgpro-lite"
# As Debian's services have it. In the data directory, what programs keep in a home would be in the way of a restore.
_NO_HOME = "/nonexistent"

# What systemd keeps for services with users that it invents, and lets nobody else into.
_PRIVATE = Path("/var/lib/private")

# As useradd(8) takes them; systemd refuses others.
_USER_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_UNIT = Path("/etc/systemd/system/imgpro-lite.service")


@click.command()
@configuration_options
@click.option("--user", default=_USER, show_default=True, help="System user that the server runs as.")
@click.option("--output", type=click.Path(path_type=Path), help="File to write it to. Default: standard output.")
def systemd(config_path: Path | None, data_dir: Path | None, user: str, output: Path | None) -> None:
    """Print a hardened systemd unit that runs this program, and say what to do with it.

    The data directory is that of --data-dir or of the configuration, else /var/lib/imgpro-lite.
    """
    if not _USER_NAME.fullmatch(user) or user == "root":
        raise OperatorError(f"--user {user}: name a system user of small letters, digits, - and _, and not root.")
    configuration = load(config_path, {"data_dir": data_dir})
    directory = _data_dir(configuration.settings)
    installation = Installation(
        program=_program(),
        data_dir=directory,
        config_path=configuration.path,
        user=user,
        places=_places(directory, configuration.path),
        is_single_file=_is_frozen(),
    )
    text = unit_text(installation, configuration.settings.server.shutdown_seconds)
    if output is None:
        echo(text.rstrip("\n"))
    else:
        _write(output, text)
    for line in _next_steps(installation, output or _UNIT):
        click.echo(line, err=True)
    if configuration.is_from_environment:
        click.echo("IMGPRO_ variables of this shell are not in the unit: write them into imgpro.toml.", err=True)


def _data_dir(settings: Settings) -> Path:
    """An absolute directory; where nobody has named one, that of services."""
    if settings.data_dir == Settings().data_dir:
        return _DATA_DIR
    directory = settings.data_dir.absolute()
    if ".." in directory.parts:  # which systemd does not take
        directory = directory.resolve()
    if directory in (Path("/"), _DATA_DIR.parent) or _PRIVATE in directory.parents:
        raise OperatorError(
            f"{directory} cannot be the data directory of a service. Take {_DATA_DIR}, or one below /srv."
        )
    return directory


def _is_frozen() -> bool:
    """Whether this is a single-file program, without a Python beside it."""
    return bool(getattr(sys, "frozen", False))


def _program() -> tuple[str, ...]:
    """The command that runs this installation, whatever the directory and the search path."""
    if _is_frozen():
        # What runs is an unpacked copy, which the next version has elsewhere.
        return (os.environ.get("_IMGPRO_LITE_FILE", sys.executable),)
    script = Path(sys.executable).parent / "imgpro-lite"
    return (str(script),) if script.exists() else (sys.executable, "-P", "-m", "imgpro_lite")


def _places(*paths: Path | None) -> tuple[Path, ...]:
    """All that the server must be able to read."""
    given = [path.absolute() for path in paths if path]
    if _is_frozen():  # the server unpacks itself in a directory of its own
        return (Path(_program()[0]), *given)
    return (Path(sys.executable), Path(sys.prefix), Path(sys.base_prefix), *given)


def _write(output: Path, text: str) -> None:
    try:
        output.write_text(text, "utf-8")
        output.chmod(0o644)  # units are for everybody to read; there is no secret in it
    except OSError as error:
        raise OperatorError(f"{output} cannot be written: {error.strerror}.") from error


def _next_steps(installation: Installation, unit: Path) -> list[str]:
    """What the operator does with the unit."""
    user, directory = installation.user, shlex.quote(str(installation.data_dir))
    steps = [
        f"useradd --system --user-group --no-create-home --home-dir {_NO_HOME} --shell /usr/sbin/nologin {user}",
        *([] if installation.state_name else [f"install -d -m 0700 -o {user} -g {user} {directory}"]),
        "systemctl daemon-reload",
        f"systemctl enable --now {shlex.quote(unit.stem)}",
    ]
    lines = [f"Save it as {unit}. Then, as root:" if not unit.exists() else "Then, as root:"]
    lines += [f"  {step}" for step in steps]
    if installation.is_below_home:
        lines.append(
            "Something of this installation is below /home or /root, which other users can often not read, and which "
            "the unit therefore leaves open: install it below /opt instead."
        )
    if installation.is_below_temporary:
        lines.append(
            "Something of this installation is below /tmp or /var/tmp, and the service has a /tmp of its own, where it "
            "does not see that: move it to another place."
        )
    return lines
