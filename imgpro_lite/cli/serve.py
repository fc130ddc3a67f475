"""`imgpro-lite serve`."""

import json
import os
from pathlib import Path
from typing import Any

import rich_click as click

from imgpro_lite import __version__, logs, server
from imgpro_lite.cli import lifetime
from imgpro_lite.cli.options import configuration_options, load
from imgpro_lite.config import Configuration
from imgpro_lite.dev.mode import DevMode, enter_dev_mode, is_loopback, with_own_address
from imgpro_lite.errors import OperatorError
from imgpro_lite.settings import Settings
from imgpro_lite.store.temporary_dir import hold_temporary_data_dir

_BANNER_COLUMNS = 72


@click.command()
@configuration_options
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="TCP port; 0 lets the system choose one.")
@click.option("--dev", is_flag=True, help="Dev mode: time, mail, plans and faults can be turned. For tests only.")
@click.option("--dev-host", metavar="NAME", help="A host name under which dev mode may also be called.")
@click.option(
    "--seed", "seed_folder", metavar="DIR", type=click.Path(path_type=Path), help="A seed for dev mode to begin with."
)
@click.option("--with-key", "key", metavar="KEY", help="With --dev: begin with this key, of a verified team.")
@click.option(
    "--temporary", is_flag=True, help="With --dev: keep everything in a directory that is removed at the end."
)
@click.option("--stop-with-stdin", is_flag=True, help="Stop when standard input ends, as when its writer is killed.")
@click.option("--print-json", is_flag=True, help="Print one line of JSON when the server listens, and nothing else.")
@click.pass_context
def serve(
    ctx: click.Context,
    config_path: Path | None,
    data_dir: Path | None,
    host: str | None,
    port: int | None,
    dev: bool,
    dev_host: str | None,
    seed_folder: Path | None,
    key: str | None,
    temporary: bool,
    stop_with_stdin: bool,
    print_json: bool,
) -> None:
    """Run the server until it is told to stop (Ctrl-C or SIGTERM)."""
    dev_options = {"--dev-host": dev_host, "--seed": seed_folder, "--with-key": key, "--temporary": temporary}
    _refuse_without_dev(dev_options, dev)
    if temporary and data_dir:
        raise OperatorError("--temporary makes a data directory of its own: leave out --data-dir.")
    if temporary or stop_with_stdin:
        lifetime.clean_up_at_sigterm()
    if stop_with_stdin:
        lifetime.stop_with_stdin()
    if temporary:
        data_dir = ctx.with_resource(hold_temporary_data_dir())
    configuration = load(config_path, {"data_dir": data_dir, "server.host": host, "server.port": port})
    settings, mode = configuration.settings, None
    if dev:
        settings, mode = enter_dev_mode(settings, dev_host, seed_folder, key)
    logs.configure(settings.log, at_once=dev)
    sockets = server.bind(settings.server.host, settings.server.port)
    metrics_sockets = server.bind_metrics(settings.metrics, sockets)
    settings = server.with_real_port(settings, sockets[0].getsockname()[1])
    if mode:
        settings = with_own_address(settings, mode)

    def greet() -> None:
        if print_json:
            click.echo(json.dumps(_facts(settings, mode)))
        else:
            click.echo(_banner(settings, mode) + _greeting(settings, _sources(configuration)))

    server.run(settings, sockets, on_ready=greet, dev=mode, metrics_sockets=metrics_sockets)
    if temporary:
        ctx.close()  # removes the directory
        lifetime.end_at_once()


def _refuse_without_dev(options: dict[str, Any], dev: bool) -> None:
    for name, given in options.items():
        if given and not dev:
            hint = ", or load it once with `imgpro-lite seed`" if name == "--seed" else ""
            raise OperatorError(f"{name} is for dev mode: give --dev too{hint}.")


def _facts(settings: Settings, mode: DevMode | None) -> dict[str, str | int | None]:
    """What a program needs that has started the server."""
    facts: dict[str, str | int | None] = {
        "url": settings.public_url,
        "api_url": settings.api_url,
        "port": settings.server.port,
        "pid": os.getpid(),
        "data_dir": str(settings.data_dir.absolute()),
        "version": __version__,
    }
    if mode:
        facts |= {"control_url": f"{settings.public_url}/_dev", "token": mode.token}
    return facts


def _banner(settings: Settings, mode: DevMode | None) -> str:
    """What nobody can overlook who has started dev mode by mistake."""
    if mode is None:
        return ""
    rule = "=" * _BANNER_COLUMNS
    lines = [
        rule,
        "  DEV MODE: for tests. Everybody who reaches this server can change its",
        "  time, plans and mail, and empty it. Never use it for images you need.",
        f"  Control plane: {settings.public_url}/_dev",
        *([f"  Its token:     {mode.token}"] if mode.token else []),
        rule,
    ]
    return "\n".join([*lines, "", ""])


def _sources(configuration: Configuration) -> str:
    """Where settings come from; flags are before the operator's eyes."""
    environment = ["IMGPRO_ variables"] if configuration.is_from_environment else []
    if configuration.path:
        return " and ".join([str(configuration.path.absolute()), *environment])
    return f"{' and '.join([*environment, 'defaults'])} (no imgpro.toml)"


def _key_header(settings: Settings) -> str:
    """What a first request needs where uploads without a key are off."""
    return "" if settings.anonymous.enabled else ' -H "Authorization: Bearer YOUR_API_KEY"'


def _greeting(settings: Settings, sources: str) -> str:
    """What the operator sees when the server listens: where, and a first request to copy."""
    where = settings.public_url
    lines = [
        f"imgpro-lite {__version__} is ready at {where}",
        f"  data in {settings.data_dir.absolute()}",
        f"  configuration from {sources}",
        "",
        "Upload a first image:",
        f"  curl{_key_header(settings)} -F file=@photo.jpg {settings.api_url}/v1/upload",
    ]
    if not is_loopback(settings.server.host) and not settings.server.public_url:
        lines += [
            "",
            f"The links that this server gives out begin with {where}, which others cannot open.",
            "Set its real address in imgpro.toml:",
            "  [server]",
            '  public_url = "https://images.example.com"',
        ]
    return "\n".join([*lines, ""])
