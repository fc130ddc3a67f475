"""`imgpro-lite serve`."""

from pathlib import Path

import rich_click as click

from imgpro_lite import __version__, logs, server
from imgpro_lite.cli.options import configuration_options, load
from imgpro_lite.config import Configuration
from imgpro_lite.settings import Settings


@click.command()
@configuration_options
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="TCP port; 0 lets the system choose one.")
def serve(config_path: Path | None, data_dir: Path | None, host: str | None, port: int | None) -> None:
    """Run the server until it is told to stop (Ctrl-C or SIGTERM)."""
    configuration = load(config_path, {"data_dir": data_dir, "server.host": host, "server.port": port})
    settings = configuration.settings
    logs.configure(settings.log)
    sockets = server.bind(settings.server.host, settings.server.port)
    settings = server.with_real_port(settings, sockets[0].getsockname()[1])
    server.run(settings, sockets, on_ready=lambda: click.echo(_greeting(settings, _sources(configuration))))


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
    if not server.is_loopback(settings.server.host) and not settings.server.public_url:
        lines += [
            "",
            f"The links that this server gives out begin with {where}, which others cannot open.",
            "Set its real address in imgpro.toml:",
            "  [server]",
            '  public_url = "https://images.example.com"',
        ]
    return "\n".join([*lines, ""])
