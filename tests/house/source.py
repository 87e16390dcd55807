"""The source as the house contracts read it: syntax trees, never imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "aimwell"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def read_trees() -> dict[Path, ast.Module]:
    """Every module of the package, parsed; the path is relative to the repository."""
    return {
        path.relative_to(ROOT): ast.parse(path.read_text("utf-8"), str(path))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def find_calls(names: frozenset[str]) -> Iterator[tuple[Path, ast.Call]]:
    """Every call of a function or class with one of these names."""
    for path, tree in read_trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and name_callee(node) in names:
                yield path, node


def find_functions() -> Iterator[tuple[Path, Function]]:
    """Every function, methods and nested ones too."""
    for path, tree in read_trees().items():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield path, node


def name_callee(call: ast.Call) -> str | None:
    """``say`` for ``say(…)`` as for ``text.say(…)``."""
    if isinstance(call.func, ast.Name):
        return call.func.id
    return call.func.attr if isinstance(call.func, ast.Attribute) else None


def read_literal(node: ast.expr) -> str | None:
    """The string that stands there literally, if one does."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
