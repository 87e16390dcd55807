"""The wheel carries all that the package needs to run: catalogues, migrations, templates, the report's assets."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.house.source import PACKAGE, ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def list_source() -> set[str]:
    return {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_every_file_of_the_package_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    assert list_source() - set(wheel.namelist()) == set()


def test_the_wheel_carries_what_is_no_python(wheel: zipfile.ZipFile) -> None:
    suffixes = {Path(name).suffix for name in wheel.namelist()}
    assert {".po", ".css", ".js", ".html", ".txt", ".mako", ".typed", ".LICENSE", ".NOTICE"} <= suffixes
    assert "aimwell/report/assets/echarts.min.js" in wheel.namelist()


def test_the_wheel_carries_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top.split("-")[0] for top in tops} == {"aimwell"}


def test_the_licence_goes_along(wheel: zipfile.ZipFile) -> None:
    names = [Path(name).name for name in wheel.namelist() if ".dist-info/licenses/" in name]
    assert sorted(names) == ["LICENSE", "NOTICE"]
