"""Files and functions stay small, nothing is a stub, and nothing names the machine it was written on."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import grimp

from tests.house.source import PACKAGE, ROOT, Function, find_functions, read_trees

MOST_LINES_OF_A_FILE = 600
MOST_LINES_OF_A_FUNCTION = 60
USUAL_LINES_OF_A_FUNCTION = 40
BODILESS = re.compile("overload|abstract")
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "manager", "misc", "common"}
# Written in two parts, so that this file does not find itself.
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:" + "|".join(("work/", "home/", "root/", "Users/")) + ")")
WRITTEN = ("src", "tests", "docs", "bench", "changelog.d", ".ci")
SUFFIXES = {".py", ".md", ".po", ".css", ".js", ".liquid", ".html", ".sql", ".toml", ".ini", ".mako", ""}


def count_lines(function: Function) -> int:
    """Lines of code: the docstring is not counted, the signature is."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def list_written_files() -> list[Path]:
    top = [path for path in ROOT.iterdir() if path.is_file() and path.suffix in SUFFIXES]
    below = [
        path
        for folder in WRITTEN
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix in SUFFIXES and not {"assets", "__pycache__"} & set(path.parts)
    ]
    return top + below


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    lengths = {
        path.relative_to(ROOT): len(path.read_text("utf-8").splitlines())
        for folder in (PACKAGE, ROOT / "tests")
        for path in folder.rglob("*.py")
    }
    assert len(lengths) > 20
    assert {path: lines for path, lines in lengths.items() if lines > MOST_LINES_OF_A_FILE} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        f"{path}:{function.lineno} {function.name}": count_lines(function)
        for path, function in find_functions()
        if count_lines(function) > MOST_LINES_OF_A_FUNCTION
    }
    assert long == {}


def test_nineteen_functions_in_twenty_are_short() -> None:
    lines = sorted(count_lines(function) for _, function in find_functions())
    assert lines[int(len(lines) * 0.95)] <= USUAL_LINES_OF_A_FUNCTION


def test_names_say_what_is_inside() -> None:
    parts = {part.removesuffix(".py") for path in read_trees() for part in path.parts}
    assert parts & FORBIDDEN_NAMES == set()
    named = {function.name.strip("_") for _, function in find_functions()}
    assert named & FORBIDDEN_NAMES == set()


def test_every_module_says_what_it_is_for() -> None:
    silent = [str(path) for path, tree in read_trees().items() if tree.body and not ast.get_docstring(tree)]
    assert silent == []


def test_nothing_is_a_stub() -> None:
    stubs = [
        f"{path}:{function.lineno} {function.name}"
        for path, tree in read_trees().items()
        for function in _find_concrete_functions(tree)
        if _is_empty(function)
    ]
    assert stubs == []
    unfinished = [
        f"{path}:{node.lineno}"
        for path, tree in read_trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == "NotImplementedError"
    ]
    assert unfinished == []


def test_nothing_is_left_to_do() -> None:
    marks = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")
    left = [str(path.relative_to(ROOT)) for path in list_written_files() if marks.search(_read(path))]
    assert left == []


def test_nothing_names_the_machine_it_was_written_on() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in list_written_files()
        for number, line in enumerate(_read(path).splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


def test_no_module_is_in_an_import_cycle() -> None:
    graph = grimp.build_graph("aimwell", exclude_type_checking_imports=True, cache_dir=None)
    in_a_cycle = {
        module
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if module in graph.find_upstream_modules(imported)
    }
    assert in_a_cycle == set()


def _find_concrete_functions(tree: ast.Module) -> list[Function]:
    """All functions but those of protocols, overloads and abstract methods, which have no body by nature."""
    protocols = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(base) for base in node.bases)
    ]
    declared = {id(inner) for protocol in protocols for inner in ast.walk(protocol)}
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, Function)
        and id(node) not in declared
        and not any(BODILESS.search(ast.unparse(mark)) for mark in node.decorator_list)
    ]


def _is_empty(function: Function) -> bool:
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if function.name.strip("_") == "ignore":
        return False  # doing nothing is what it says, such as a progress that nobody watches
    # A typer group's callback has its options and its docstring, and nothing to do.
    if not body:
        return not function.decorator_list
    return all(
        isinstance(node, ast.Pass)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.value.value is ...)
        for node in body
    )


def _read(path: Path) -> str:
    return path.read_text("utf-8", errors="replace")
