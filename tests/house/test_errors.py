"""Every error has a stable code of its own: one code, one message."""

from __future__ import annotations

import ast
import re
from collections import defaultdict

from tests.house.source import find_calls, name_callee, read_literal

ERRORS = frozenset({"BadInput", "NotAllowed", "NotReady", "Conflict", "ContractBroken"})
CODE = re.compile(r"[a-z]+(?:\.[a-z][a-z0-9_]*)+")


def find_codes() -> dict[str, list[tuple[str, str | None]]]:
    """Code → where it is raised and with which message."""
    codes: dict[str, list[tuple[str, str | None]]] = defaultdict(list)
    for path, call in find_calls(ERRORS):
        where = f"{path}:{call.lineno}"
        code = read_literal(call.args[0]) if call.args else None
        # A function may be given its code; then the code is literal where that function is called.
        if code is not None:
            codes[code].append((where, _read_message(call)))
    return codes


def test_codes_read_as_room_and_problem() -> None:
    assert len(find_codes()) > 10
    assert [code for code in find_codes() if not CODE.fullmatch(code)] == []


def test_a_code_means_one_thing() -> None:
    wrong = {
        code: places
        for code, places in find_codes().items()
        if len({message for _, message in places if message is not None}) > 1
    }
    assert wrong == {}


def test_a_code_belongs_to_one_room() -> None:
    wrong = {
        code: rooms
        for code, places in find_codes().items()
        # The command line may refuse what its room would refuse, under the room's code.
        if len(rooms := {where.split("/")[2] for where, _ in places} - {"cli"}) > 1
    }
    assert wrong == {}


def _read_message(call: ast.Call) -> str | None:
    if len(call.args) < 2 or not isinstance(call.args[1], ast.Call):
        return None
    said = call.args[1]
    return read_literal(said.args[0]) if name_callee(said) == "say" and said.args else None
