"""Where pairs are made and compared: scratch rows stand where nobody else looks, and go with the block."""

from __future__ import annotations

from pathlib import Path

import pytest

from aimwell.data.identity.backend import open_backend
from aimwell.engine.settings import EngineSettings


def test_what_does_not_fit_in_memory_stays_out_of_the_folder_of_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "temporary"
    with open_backend(EngineSettings(), tmp_path) as backend:
        (own,) = place.iterdir()
        found = backend.query("SELECT CURRENT_SETTING('temp_directory') AS folder")["folder"][0].as_py()
        assert Path(found).parent == own
    assert list(place.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]
