"""Two servers, and images that go from one to the other by command."""

from pathlib import Path

from click.testing import CliRunner, Result
from commands import authorization, make_key
from library import new_email
from running import Running

from imgpro_lite.cli.main import cli


def new_key(server: Running, *options: str) -> str:
    """A key of a team of its own."""
    return str(make_key(server.data_dir, "--verified", *options, email=new_email())["key"])


def run_transfer(command: str, *arguments: str | Path, state: Path, **env: str) -> Result:
    """`imgpro-lite push …` or `pull …` in this process, with its exit code and what it prints."""
    ours = {"IMGPRO_URL": None, "IMGPRO_KEY": None, "IMGPRO_FAR_KEY": None, "XDG_STATE_HOME": str(state), **env}
    return CliRunner().invoke(cli, [command, *map(str, arguments)], env=ours)


def headers(key: str) -> dict[str, str]:
    return authorization({"key": key})
