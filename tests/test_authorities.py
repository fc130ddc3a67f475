"""Which certificate authorities are trusted, and what is said where there are none."""

from pathlib import Path

import pytest

from imgpro_lite.authorities import has_authorities, trusting_context


def test_a_machine_without_authorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert not has_authorities()
    (tmp_path / "0123abcd.0").touch()
    assert has_authorities()


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nothing.pem"))
    assert not has_authorities()
    with pytest.raises(OSError, match="No such file"):
        trusting_context()
