"""Options that several commands share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

from imgpro_lite import config

F = TypeVar("F", bound=Callable[..., Any])

_CONFIG = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="Configuration file. Default: ./imgpro.toml, else /etc/imgpro-lite/imgpro.toml, if there is one.",
)
_DATA_DIR = click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Directory of the database, the images and the cache."
)


def configuration_options(command: F) -> F:
    """Add --config and --data-dir to a command."""
    return _CONFIG(_DATA_DIR(command))


def load(config_path: Path | None, flags: dict[str, Any]) -> config.Configuration:
    """The configuration in force for this command line. Raises ConfigError."""
    return config.load(config_path, flags, os.environ)
