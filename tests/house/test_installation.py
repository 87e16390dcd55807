"""What is imported is declared, what is declared is locked, and the lock names no registry."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from aimwell import __version__
from tests.house.source import ROOT, read_trees

EXTRAS = ("postgresql", "spark", "clickhouse")
LOCK = (ROOT / "requirements.lock").read_text("utf-8")


def read_project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return project


def read_requirements(*groups: str) -> list[Requirement]:
    project = read_project()
    texts = list(project["dependencies"])
    for group in groups:
        texts += project["optional-dependencies"][group]
    return [Requirement(text) for text in texts]


def read_locked() -> dict[str, set[str]]:
    """Distribution → locked versions (one for each range of Pythons that needs its own)."""
    locked: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", LOCK, re.MULTILINE):
        locked.setdefault(canonicalize_name(name), set()).add(version)
    return locked


def find_imported() -> set[str]:
    return {name for tree in read_trees().values() for name in list_imports(ast.walk(tree))}


def find_imported_at_once() -> set[str]:
    """What is imported as soon as a module of ours is."""
    nodes = [node for tree in read_trees().values() for node in walk_outside_functions(tree)]
    return set(list_imports(nodes))


def walk_outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from walk_outside_functions(child)


def list_imports(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module.split(".")[0]]
        yield from (name for name in names if name not in sys.stdlib_module_names and name != "aimwell")


def find_undeclared(imported: set[str], *extras: str) -> set[str]:
    declared = {canonicalize_name(requirement.name) for requirement in read_requirements(*extras)}
    distributions = packages_distributions()
    return {
        name
        for name in imported
        if not declared & {canonicalize_name(found) for found in distributions.get(name, [name])}
    }


def test_what_is_imported_at_once_is_declared() -> None:
    assert find_undeclared(find_imported_at_once()) == set()


def test_what_functions_import_is_declared_as_an_extra_at_least() -> None:
    assert find_undeclared(find_imported(), *EXTRAS) == set()


def test_requirements_are_bounded() -> None:
    for requirement in read_requirements("dev", *EXTRAS):
        operators = {part.operator for part in requirement.specifier}
        assert ">=" in operators, requirement
        # tzdata numbers its releases by the calendar, and the newest is the most right.
        assert "<" in operators or requirement.name == "tzdata", requirement


def test_the_lock_satisfies_every_requirement() -> None:
    locked = read_locked()
    for requirement in read_requirements("dev"):
        versions = locked[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version) for version in versions), requirement


def test_every_locked_version_has_its_hashes() -> None:
    blocks = re.split(r"^(?=[a-z0-9])", LOCK, flags=re.MULTILINE)[1:]
    assert len(blocks) > 50
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_the_lock_names_no_registry() -> None:
    assert not re.search(r"https?:|file:|index-url|find-links|trusted-host", LOCK)


def test_the_version_is_a_version() -> None:
    assert str(Version(__version__)) == __version__
    assert read_project()["dynamic"] == ["version"]


def test_changes_are_told_in_fragments() -> None:
    fragments = [path.name for path in (ROOT / "changelog.d").iterdir()]
    wrong = [name for name in fragments if not re.fullmatch(r"\d+\.(added|changed|fixed|removed)\.md", name)]
    assert wrong == []
