"""A load is killed while rows of people lie on disk beside it; whoever is erased then is in none of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import duckdb

from aimwell.core.errors import Conflict
from aimwell.data.erasure import erase_person
from aimwell.data.scratch import Scratch
from aimwell.data.step import add_source
from aimwell.engine.spill import SpillFolder, clear, remove_dead
from aimwell.engine.workspace import Workspace
from tests.data.test_privacy import ADDRESS, EMAIL, NAME, OTHERS, PERSON, PHONE, scan
from tests.faults.victims import PATIENCE

ROWS = 5_000
SCRIPT = """
import sys
from aimwell.data.step import add_source
from aimwell.engine.workspace import Workspace
add_source(Workspace.open(sys.argv[1]), sys.argv[2], table="customers", source="people", accept=True)
"""


def write_people(path: Path, rows: int) -> None:
    head = "customer_id,name,email,phone,address,remark\n"
    lines = [f"{PERSON},{NAME},{EMAIL},{PHONE},{ADDRESS},{NAME} {EMAIL}\n"]
    lines += [f"{row},客户{row},{row}@example.org,,某路,\n" for row in OTHERS]
    lines += [f"X-{n:07},某某{n},x{n}@example.org,,某路{n}号,\n" for n in range(rows)]
    path.write_text(head + "".join(lines), encoding="utf-8")


def list_spilt(warehouse: Path) -> list[Path]:
    return [path for path in (warehouse / "temporary").rglob("*") if path.is_file() and path.name != "lock"]


def is_written(path: Path) -> bool:
    """Whether ``path`` says that a piece of the file stands whole beside it."""
    return path.name == "state.json" and '"pieces": 1' in path.read_text("utf-8")


def test_who_is_erased_is_in_no_file_that_a_killed_load_left(tmp_path: Path) -> None:
    shop, path, system = tmp_path / "shop", tmp_path / "people.csv", tmp_path / "system"
    system.mkdir()
    workspace = Workspace.create(shop)
    write_people(tmp_path / "first.csv", 0)
    add_source(workspace, tmp_path / "first.csv", table="customers", source="people", accept=True)
    write_people(path, ROWS)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(shop), str(path)], env={**os.environ, "TMPDIR": str(system)}
    )
    deadline = time.monotonic() + PATIENCE
    while not any(map(is_written, list_spilt(workspace.warehouse_folder))):
        assert time.monotonic() < deadline and process.poll() is None, "nothing was put aside"
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert list(system.iterdir()) == [], "rows lie where no erasure looks"
    left = next(file for file in list_spilt(workspace.warehouse_folder) if file.suffix == ".parquet")
    assert any(PERSON in line for line in scan(left.parent))
    # As a kill in the midst of writing leaves a piece that waits for the load to go on.
    torn = shop / "staging" / "key" / "piece-000000.parquet"
    torn.parent.mkdir(parents=True)
    torn.write_bytes(left.read_bytes()[:-100])
    erase_person(workspace, PERSON, dry_run=False)
    assert list_spilt(workspace.warehouse_folder) == []
    assert not torn.exists()
    assert scan(shop) == []
    again = add_source(workspace, path, table="customers", source="people", accept=True)
    assert again.summary["rows"] == ROWS + len(OTHERS) + 1
    workspace.close()
    assert scan(shop) == []


def test_the_lock_tells_the_living_from_the_dead(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from aimwell.engine.spill import SpillFolder\n"
        "own = SpillFolder(Path(sys.argv[1]), 'session'); (own.path / 'rows').write_text('somebody')\n"
        "print(own.path, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        theirs = Path(process.stdout.readline().strip())
        assert remove_dead(tmp_path) == [] and (theirs / "rows").exists()
        process.kill()
    with SpillFolder(tmp_path, "session") as mine:
        assert not theirs.exists()
        assert remove_dead(tmp_path) == [] and mine.path.exists()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_load_from_which_an_erasure_took_files_says_so(tmp_path: Path) -> None:
    # What DuckDB still holds open it reads on: such a load ends, and rightly so.
    assert any(lose_files(tmp_path) for _ in range(8)), "no load noticed that its files were gone"
    assert list((tmp_path / "temporary").iterdir()) == []


def lose_files(folder: Path) -> bool:
    """Whether a load whose files are deleted says so; one that does not has the right answer."""
    rows = "SELECT repeat('x', 40) || hash(i) AS s FROM range(400000) AS r(i)"
    greatest = duckdb.sql(f"SELECT max(s) FROM ({rows})").fetchall()[0][0]
    scratch = Scratch(folder, memory_limit="20MB", threads=1)
    try:
        with scratch:
            scratch.execute(f"CREATE TABLE t AS {rows}")
            assert list_spilt(folder)
            clear(folder, patience=0.0)
            assert list_spilt(folder) == []
            for times in range(1, 4):
                scratch.execute("CREATE OR REPLACE TABLE t AS SELECT s || '.' AS s FROM t")
                found = scratch.query("SELECT max(s) AS s FROM t")["s"][0].as_py()
                assert found == greatest + "." * times
    except Conflict as problem:
        assert "erasures" in str(problem)
        return True
    return False
