"""The server that a command talks to, and the key that it uses there."""

import os

import rich_click as click

from imgpro_lite.cli.options import load
from imgpro_lite.client.uploader import is_server_address
from imgpro_lite.errors import OperatorError


def find_key(given: str | None, server: str | None) -> str | None:
    """The key to use, if any. Raises OperatorError for what can be none, without repeating it.

    IMGPRO_KEY belongs to IMGPRO_URL: it is never sent to another server.
    """
    home = os.environ.get("IMGPRO_URL")
    is_elsewhere = server is not None and bool(home) and server.rstrip("/") != str(home).rstrip("/")
    key = given or (None if is_elsewhere else os.environ.get("IMGPRO_KEY")) or None
    if is_elsewhere and key is None and os.environ.get("IMGPRO_KEY"):
        click.echo(f"IMGPRO_KEY is for {home}, so the upload is anonymous; give --key for {server}.", err=True)
    if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        raise OperatorError("The API key has characters that no key has. Copy it once more.")
    return key


def find_server(named: str | None) -> str:
    """The address to talk to, without a slash at its end. Raises OperatorError, ConfigError."""
    return check_server(named or os.environ.get("IMGPRO_URL") or load(None, {}).settings.api_url)


def check_server(address: str) -> str:
    """The address of a server, without a slash at its end. Raises OperatorError."""
    if not is_server_address(address):
        # Without repeating it: there may be a password in it.
        raise OperatorError(
            "What is given cannot be used as the address of a server: such a one begins with http:// or https://, and "
            "has no user name, query or fragment, like https://images.example.com"
        )
    return address.rstrip("/")
