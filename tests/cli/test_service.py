"""``aimwell serve``: what it starts speaks as it was told to itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from aimwell.cli.service import _list_programs
from aimwell.core.text import set_language


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
