"""A world on each of the two stores."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from aimwell.engine.store import Store
from tests.deployment.journeys.world import World
from tests.postgres import Server, postgres

__all__ = ["postgres"]
_NUMBERS = count(1)


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An empty store with one advancer."""
    if request.param == "sqlite":
        store = Store.open_file(tmp_path / "store.sqlite")
    else:
        server: Server = request.getfixturevalue("postgres")
        name = f"journeys_{next(_NUMBERS)}"
        server.run(f"CREATE DATABASE {name}")
        store = Store(server.address(name))
        store.migrate()
    yield World(store)
    store.close()
