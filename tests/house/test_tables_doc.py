"""docs/tables.md says what core/tables.py declares."""

from __future__ import annotations

import subprocess
import sys

from aimwell.core.tables import ALL_TABLES
from tests.house.source import PACKAGE, ROOT

ROOMS = {path.name for path in PACKAGE.iterdir() if path.is_dir()}


def test_the_page_is_current() -> None:
    printed = subprocess.run(
        [sys.executable, "-X", "utf8", str(ROOT / "docs" / "print_tables.py")],
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout
    written = (ROOT / "docs" / "tables.md").read_text("utf-8")
    assert written == printed, "core/tables.py has changed: run `make docs`"


def test_writers_and_readers_are_rooms() -> None:
    for table in ALL_TABLES:
        named = {*table.writer.split(", "), *table.readers}
        assert named <= ROOMS, table.name
