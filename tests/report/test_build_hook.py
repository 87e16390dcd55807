"""The build hook: exact version, exact bytes, nothing fetched twice, and a clear word when it cannot fetch."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def hook() -> Iterator[ModuleType]:
    pytest.importorskip("hatchling", reason="hatchling is only there to build: pip install hatchling")
    spec = importlib.util.spec_from_file_location("hatch_build_under_test", ROOT / "hatch_build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def write_record(hook: ModuleType, folder: Path, version: str) -> None:
    for name in hook.FILES.values():
        (folder / name).write_text(name)
    record = {"version": version, "integrity": hook.INTEGRITY, "sha256": hook.hash_files(folder)}
    (folder / hook.RECORD).write_text(json.dumps(record))


def test_what_is_there_is_not_fetched_again(hook: ModuleType, tmp_path: Path) -> None:
    write_record(hook, tmp_path, hook.VERSION)
    assert hook.fetch_assets(tmp_path) is False


def test_another_version_or_a_changed_byte_is_not_current(hook: ModuleType, tmp_path: Path) -> None:
    assert not hook.is_current(tmp_path)
    write_record(hook, tmp_path, "5.0.0")
    assert not hook.is_current(tmp_path)
    write_record(hook, tmp_path, hook.VERSION)
    (tmp_path / "echarts.min.js").write_text("changed")
    assert not hook.is_current(tmp_path)


def test_the_installed_library_is_the_pinned_one(hook: ModuleType) -> None:
    folder = ROOT / hook.FOLDER
    if not (folder / hook.RECORD).exists():
        pytest.skip("the assets are not installed: make install")
    assert hook.is_current(folder)


def test_another_archive_is_refused(hook: ModuleType, tmp_path: Path) -> None:
    archive = tmp_path / "echarts.tgz"
    archive.write_bytes(b"not what is pinned")
    with pytest.raises(hook.AssetsMissing, match="not the one that Aimwell pins"):
        hook.check_integrity(archive)


def test_only_the_kept_files_leave_the_archive(hook: ModuleType, tmp_path: Path) -> None:
    archive = tmp_path / "echarts.tgz"
    with tarfile.open(archive, "w:gz") as package:
        for name in (*hook.FILES, "package/../../outside.js"):
            entry = tarfile.TarInfo(name)
            entry.size = 1
            package.addfile(entry, io.BytesIO(b"x"))
    hook.unpack_files(archive, tmp_path / "in" / "assets")
    found = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"echarts.tgz", *hook.FILES.values()}


def test_without_a_registry_the_remedy_is_said(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        hook, "find_npm", lambda: [sys.executable, "-c", "raise SystemExit('no route to host')"]
    )
    with pytest.raises(hook.AssetsMissing, match=r"(?s)no route to host.*make install"):
        hook.fetch_assets(tmp_path / "assets")


def test_the_wheel_carries_the_assets(hook: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / hook.FOLDER
    folder.mkdir(parents=True)
    write_record(hook, folder, hook.VERSION)
    build = hook.CustomBuildHook(str(tmp_path), {}, None, None, str(tmp_path / "dist"), "wheel")
    data: dict[str, list[str]] = {}
    build.initialize("standard", data)
    assert f"/{hook.FOLDER}/echarts.min.js" in data["artifacts"]
    assert f"/{hook.FOLDER}/echarts.LICENSE" in data["artifacts"]
