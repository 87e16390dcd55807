"""A store on each database, for tests that must hold on both."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from aimwell.engine.store import Store
from tests.postgres import Server

BOTH = ("sqlite", "postgres")


def find_address(kind: str, folder: Path, request: pytest.FixtureRequest) -> str:
    """Where a new, empty, migrated store is, as other processes open it."""
    if kind == "sqlite":
        folder.mkdir(parents=True, exist_ok=True)
        address = f"sqlite:///{folder / 'store.sqlite'}"
    else:
        server: Server = request.getfixturevalue("postgres")
        name = f"t{secrets.token_hex(6)}"
        server.run(f"CREATE DATABASE {name}")
        address = server.address(name)
    store = Store(address)
    store.migrate()
    store.close()
    return address
