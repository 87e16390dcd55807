"""Secrets come as files from Docker and systemd; what the environment says itself wins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aimwell.engine.secret import take_secret_files


def test_each_file_becomes_the_variable_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("AIMWELL_STORE_PASSWORD", "AIMWELL_SMTP_PASSWORD", "AIMWELL_SECRET", "AIMWELL_BROKEN")
    for name in names:
        # Set and taken away: put back after the test, whatever it sets.
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)
    docker, credentials = tmp_path / "docker", tmp_path / "credentials"
    docker.mkdir()
    credentials.mkdir()
    (docker / "aimwell_store_password").write_text("from docker\n", encoding="utf-8")
    (docker / "aimwell_smtp_password").write_text("from docker", encoding="utf-8")
    (docker / "aimwell_broken").write_bytes(b"\xff\xfe\xff")
    (docker / "other").write_text("not ours", encoding="utf-8")
    (credentials / "aimwell_store_password").write_text("from systemd", encoding="utf-8")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    monkeypatch.setenv("AIMWELL_SECRET", "from the environment")
    take_secret_files([str(docker), str(tmp_path / "nowhere")])
    assert os.environ["AIMWELL_STORE_PASSWORD"] == "from systemd"
    assert os.environ["AIMWELL_SMTP_PASSWORD"] == "from docker"
    assert os.environ["AIMWELL_SECRET"] == "from the environment"
    assert "AIMWELL_BROKEN" not in os.environ
    assert "OTHER" not in os.environ
