"""``aimwell serve``: what it starts speaks as it was told to itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from aimwell.cli.app import app
from aimwell.cli.service import _list_programs
from aimwell.core.errors import BadInput
from aimwell.core.text import set_language
from aimwell.engine.workspace import Workspace


@pytest.mark.parametrize("as_json", [False, True])
def test_the_children_speak_the_language_of_their_parent(as_json: bool) -> None:
    set_language("zh")
    try:
        programs = _list_programs("shop", 3, 2, Path("shared"), with_worker=True, as_json=as_json)
    finally:
        set_language("en")
    assert [program.name for program in programs] == ["service-1", "service-2", "worker"]
    for program in programs:
        words = list(program.command)
        assert words[words.index("--language") + 1] == "zh" and ("--json" in words) == as_json


def test_scopes_are_listed_as_the_readers_language_lists_them(tmp_path: Path) -> None:
    Workspace.create(tmp_path / "shop").close()
    words = ["-w", str(tmp_path / "shop"), "key", "create", "till", "--scope", "everything"]
    told = CliRunner().invoke(app, words).exception
    assert isinstance(told, BadInput)
    assert "write, decide, read, admin" in told.render("en")
    assert "write、decide、read、admin" in told.render("zh")
