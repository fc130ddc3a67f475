"""The certificate authorities that this machine trusts, and what to do when there are none."""

import ssl
from pathlib import Path

import httpcore2

ADVICE = (
    "This machine has no list of certificate authorities, so no certificate can be checked: install the package "
    "ca-certificates, or name a file with them in the environment variable SSL_CERT_FILE."
)


def trusting_context() -> ssl.SSLContext:
    """What checks certificates, for clients: by the authorities of the system, wherever it keeps them, or by those of
    SSL_CERT_FILE. OpenSSL alone looks only where the system keeps them that it was built for, which for the single-file
    build may be another one. Raises OSError for an SSL_CERT_FILE that cannot be read."""
    return httpcore2.default_ssl_context()


def has_authorities() -> bool:
    """Whether any certificate can be good."""
    try:
        if trusting_context().get_ca_certs():
            return True
        directory = ssl.get_default_verify_paths().capath  # whose files are loaded when they are needed
        return directory is not None and any(Path(directory).iterdir())
    except OSError:
        return False
