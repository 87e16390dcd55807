"""One service for the tests of a module, with a key that may do everything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aimwell.engine.workspace import Workspace
from tests.service.scene import Service, make_key, make_workspace, running


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    made = make_workspace(tmp_path_factory.mktemp("service") / "w")
    yield made
    made.close()


@pytest.fixture(scope="module")
def service(workspace: Workspace) -> Iterator[Service]:
    with running(Path(workspace.path)) as found:
        yield found


@pytest.fixture(scope="module")
def key(workspace: Workspace) -> str:
    return make_key(workspace)
