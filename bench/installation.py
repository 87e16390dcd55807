"""Claim: the default installation (no extras) weighs at most 1,200 MB, with every module compiled.

Installs the package and the locked versions of its dependencies into an empty environment and prints what
weighs how much. Run it with ``make bench``; it needs the network.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.metadata import distributions, requires
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
LIMIT_MB = 1_200
SHOWN = 15


def read_pins() -> dict[str, str]:
    """The versions of this environment, which came out of the lock."""
    return {found.metadata["Name"].lower().replace("_", "-"): found.version for found in distributions()}


def find_needed() -> list[str]:
    """``name==version`` for everything that the package needs, directly or not, without extras."""
    pins, needed, waiting = read_pins(), {}, ["aimwell"]
    while waiting:
        name = waiting.pop()
        for text in requires(name) or []:
            requirement = Requirement(text)
            key = requirement.name.lower().replace("_", "-")
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if wanted and key not in needed:
                needed[key] = f"{key}=={pins[key]}"
                waiting.append(requirement.name)
    return sorted(needed.values())


def weigh(path: Path) -> float:
    """Megabytes (10⁶ bytes) on disk of a file or of everything in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_blocks * 512 for file in files) / 1e6


def choose_installer(python: Path) -> list[str]:
    """The command that installs into ``python``'s environment and compiles what it installs."""
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
    return ["uv", "pip", "install", "--quiet", "--compile-bytecode", "--no-deps", "--python", str(python)]


def install(environment: Path) -> Path:
    """Make ``environment``, install into it as a user would; its site-packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    installer = choose_installer(python)
    subprocess.run([*installer, *find_needed()], check=True, stderr=subprocess.DEVNULL)
    subprocess.run([*installer, str(ROOT)], check=True, stderr=subprocess.DEVNULL)
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip())


def main() -> int:
    """Print the breakdown; 1 when the claim does not hold."""
    with tempfile.TemporaryDirectory() as folder:
        packages = install(Path(folder) / "venv")
        parts = sorted(((weigh(path), path.name) for path in packages.iterdir()), reverse=True)
        compiled = sum(file.lstat().st_blocks * 512 for file in packages.rglob("*.pyc")) / 1e6
        total = weigh(packages)
    for megabytes, name in parts[:SHOWN]:
        print(f"{megabytes:7.1f} MB  {name}")
    print(f"{sum(size for size, _ in parts[SHOWN:]):7.1f} MB  {len(parts) - SHOWN} others")
    print(f"{total:7.1f} MB  in all, of which {compiled:.1f} MB are compiled modules; at most {LIMIT_MB} MB")
    return int(total > LIMIT_MB)


if __name__ == "__main__":
    sys.exit(main())
