"""The import walls hold, and are shown to fail when somebody climbs over one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.source import ROOT

RUN_CONTRACTS = "from importlinter.cli import lint_imports_command as run; run()"
HEAVY = ("duckdb", "scipy", "sklearn", "lightgbm", "pandas", "statsmodels")
ROOMS = ("data", "analysis", "models", "strategy", "deployment", "evaluation", "report", "loop")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source that may be spoilt."""
    copy = tmp_path_factory.mktemp("house")
    shutil.copy(ROOT / "pyproject.toml", copy)
    shutil.copytree(
        ROOT / "src" / "aimwell",
        copy / "src" / "aimwell",
        ignore=shutil.ignore_patterns("__pycache__", "assets", "*.po"),
    )
    return copy


def run_contracts(house: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN_CONTRACTS, "--no-cache"],
        cwd=house,
        env={**os.environ, "PYTHONPATH": str(house / "src"), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_walls_hold(house: Path) -> None:
    result = run_contracts(house)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(
    ("room", "imported", "contract"),
    [
        ("analysis", "models", "a step hands over tables"),
        ("data", "evaluation", "a step hands over tables"),
        ("strategy", "deployment", "a step hands over tables"),
        ("goals", "data", "cli over service"),
        ("core", "engine", "cli over service"),
        ("engine", "stats", "do not know each other"),
        ("report", "engine", "the report renders a dict"),
        ("evaluation", "loop", "cli over service"),
        ("loop", "cli", "cli over service"),
    ],
)
def test_an_import_over_a_wall_breaks_a_contract(
    house: Path, room: str, imported: str, contract: str
) -> None:
    offence = house / "src" / "aimwell" / room / "offence.py"
    offence.write_text(f'"""Climbs over the wall."""\n\nimport aimwell.{imported}\n')
    try:
        result = run_contracts(house)
    finally:
        offence.unlink()
    assert result.returncode == 1, result.stdout + result.stderr
    broken = [line for line in result.stdout.splitlines() if line.endswith("BROKEN")]
    assert any(contract in line for line in broken), result.stdout
    assert f"aimwell.{room}.offence -> aimwell.{imported}" in result.stdout


def test_a_data_frame_library_breaks_a_contract(house: Path) -> None:
    offence = house / "src" / "aimwell" / "analysis" / "offence.py"
    offence.write_text('"""Climbs over the wall."""\n\nimport pandas\n')
    try:
        result = run_contracts(house)
    finally:
        offence.unlink()
    assert result.returncode == 1
    assert "aimwell.analysis.offence -> pandas" in result.stdout


def test_the_command_line_starts_without_the_rooms() -> None:
    code = (
        "import sys, aimwell.cli.app\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        f"rooms = [room for room in {ROOMS!r} if 'aimwell.' + room in sys.modules]\n"
        "print(heavy + rooms)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"
