"""`imgpro-lite licenses`: what the program is made of."""

import json
import sys
from dataclasses import asdict

import rich_click as click
from rich.table import Table

from imgpro_lite.cli.offline import print_table
from imgpro_lite.errors import OperatorError
from imgpro_lite.licenses import Component, list_components

_RULE_COLUMNS = 80


@click.command()
@click.argument("name", required=False)
@click.option("--full", is_flag=True, help="Print the whole texts of all licences.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, with the texts.")
def licenses(name: str | None, full: bool, as_json: bool) -> None:
    """List everything that this program is made of, with its licence; with NAME, or --full, the licences themselves."""
    components = list_components()
    if name is not None:
        components = [component for component in components if name.lower() in component.name.lower().split()]
        if not components:
            raise OperatorError(f"Nothing here is called {name}. `imgpro-lite licenses` lists everything.")
    if as_json:
        for component in components:
            click.echo(json.dumps(asdict(component)))
    elif full or name is not None:
        for component in components:
            _show_texts(component)
    else:
        _show_table(components)


def _show_table(components: list[Component]) -> None:
    table = Table("Component", "Version", "Licence", "Source", box=None)
    for component in components:
        indent = "  " if component.inside else ""
        table.add_row(
            indent + component.name,
            component.version or "",
            component.license or "see its text",
            component.source or "",
        )
    print_table(table)
    click.echo("\n`imgpro-lite licenses NAME` prints the text of a licence, `--full` all of them.")
    click.echo(_relinking())


def _relinking() -> str:
    """What the LGPL lets everybody do, in this installation."""
    if not getattr(sys, "frozen", False):
        return "The libraries under the LGPL are files of their packages, which you may replace."
    return (
        "The libraries under the LGPL are files that you may replace: copy the directory\n"
        f"{getattr(sys, '_MEIPASS', '').removesuffix('/_internal')}, put others into the\n"
        "place of those in its _internal, and run the program imgpro-lite in the copy.\n"
        "What unpacks it is linked with glibc: scripts/binary/launcher.c of the project is its\n"
        "source, and scripts/build-binary links it anew."
    )


def _show_texts(component: Component) -> None:
    click.echo("=" * _RULE_COLUMNS)
    click.echo(" ".join(filter(None, (component.name, component.version, component.license))))
    if component.source:
        click.echo(component.source)
    click.echo("=" * _RULE_COLUMNS)
    for text in component.texts:
        click.echo(f"{text.strip()}\n")
