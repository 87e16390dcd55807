"""A selection of the whole suite once more, with every workspace's store on PostgreSQL: all works the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.on_postgres import ADDRESS
from tests.postgres import Server, postgres  # noqa: F401 (a fixture)

ROOT = Path(__file__).parents[2]
SELECTION = (
    "tests/data/test_event_intake.py",
    "tests/data/test_event_erasure.py",
    "tests/data/test_consent.py",
    "tests/data/test_step.py",
    "tests/engine/test_hot_events.py",
    "tests/engine/test_vacuum.py",
    "tests/engine/test_workspace.py",
    "tests/analysis/test_live_members.py",
    "tests/analysis/test_live_rules.py",
    "tests/loop/test_record.py",
    "tests/loop/test_worker.py",
    "tests/deployment/test_step.py",
)
"""Events in and their moving into files, erasure, consent, loading, live segments, a launch, the worker."""
NOT_ON_POSTGRES = (
    # About SQLite itself.
    "test_the_store_keeps_what_it_promised_of_sqlite",
    # They open the workspace in a process of their own, which knows nothing of the plugin.
    "test_what_a_killed_process_wrote_aside_is_removed",
)


def test_the_same_tests_pass_with_the_store_on_postgresql(postgres: Server) -> None:  # noqa: F811
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n0",
        "-x",
        "-p",
        "tests.on_postgres",
        "-p",
        "no:cacheprovider",
    ]
    skipped = " and ".join(f"not {one}" for one in NOT_ON_POSTGRES)
    done = subprocess.run(
        [*command, "-k", skipped, *SELECTION],
        cwd=ROOT,
        env={**os.environ, ADDRESS: postgres.address()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    rows = postgres.run("SELECT COUNT(*) FROM pg_database WHERE datname LIKE 'w%'")
    assert rows[0][0] > 50, "the workspaces did not stand in databases"
    print(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("test", NOT_ON_POSTGRES)
def test_what_is_left_out_is_there(test: str) -> None:
    assert any(f"def {test}(" in (ROOT / one).read_text(encoding="utf-8") for one in SELECTION)
