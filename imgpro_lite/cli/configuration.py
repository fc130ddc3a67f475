"""`imgpro-lite config`: ready-made configuration for programs that upload."""

from pathlib import Path

import rich_click as click

from imgpro_lite.cli.targets import find_key, find_server
from imgpro_lite.errors import OperatorError
from imgpro_lite.fields import check_namespace, check_tags
from imgpro_lite.services.upload_helpers import UploadTarget, upload_helpers

# The file holds a key, so it is its owner's alone.
FILE_MODE, SCRIPT_MODE = 0o600, 0o700
# The configuration is also made for servers that are elsewhere, so what their operators have set is not known here.
_NO_KEY = (
    "There is no key in it, so uploads are anonymous: nobody can change or delete them, the server deletes them after "
    "a time (30 days where its operator has not set another), and it may refuse them. With --key they are yours."
)


@click.command()
@click.argument("program", metavar="PROGRAM", type=click.Choice(list(upload_helpers())))
@click.option("--server", help="Address of the server. Default: IMGPRO_URL, else the local server.")
@click.option("--key", help="API key. Default: IMGPRO_KEY, else uploads are anonymous.")
@click.option("--namespace", help="Namespace of every picture.")
@click.option("--tags", help="Comma-separated tags of every picture.")
@click.option("--output", type=click.Path(path_type=Path), help="File to write it to. Default: standard output.")
def config(
    program: str, server: str | None, key: str | None, namespace: str | None, tags: str | None, output: Path | None
) -> None:
    """Print configuration with which another program uploads here: sharex, flameshot, picgo or curl.

    It has the API key in it: keep it to yourself. Without a key uploads are anonymous, and deleted after a time.
    """
    helper = upload_helpers()[program]
    target = UploadTarget(find_server(server), find_key(key, server), _fields(namespace, tags))
    text = helper.text(target)
    if output is None:
        click.echo(text, nl=False)
    else:
        _write(output, text, SCRIPT_MODE if helper.is_script else FILE_MODE)
    click.echo(f"{helper.label}: {helper.purpose}", err=True)
    if target.key is None:
        click.echo(_NO_KEY, err=True)


def _fields(namespace: str | None, tags: str | None) -> dict[str, str]:
    """What every picture gets. Raises OperatorError for what the server would refuse each time."""
    fields = {}
    for name, value, check in (("namespace", namespace, check_namespace), ("tags", tags, check_tags)):
        if value:
            try:
                checked = check(value)
            except ValueError as error:
                raise OperatorError(f"--{name} {error}.") from error
            fields[name] = checked if isinstance(checked, str) else ",".join(checked)
    return fields


def _write(output: Path, text: str, mode: int) -> None:
    """Write a file that nobody else can read, also while it is written. Raises OperatorError."""
    try:
        output.touch(mode=mode)
        output.chmod(mode)
        output.write_text(text, "utf-8")
    except OSError as error:
        raise OperatorError(f"{output} cannot be written: {error.strerror}") from error
