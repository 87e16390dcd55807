"""Loaders, workers and readers are killed with SIGKILL at random moments: no event is lost, none is seen twice."""

from __future__ import annotations

import multiprocessing
import random
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from aimwell.core.time import now
from aimwell.data.event_intake import take_events
from aimwell.data.event_profiles import merge_profiles
from aimwell.engine.compaction import compact, merge_files
from aimwell.engine.vacuum import vacuum
from aimwell.engine.workspace import Workspace
from tests.faults.event_process import BATCH, build_message, run
from tests.faults.victims import PATIENCE, count_kills

KILLS = count_kills(8)
# Processes are forked from a clean one that has everything imported: to start one costs no seconds.
PROCESSES = multiprocessing.get_context("forkserver")


def start(kind: str, folder: Path, seed: str, log: Path) -> Any:
    process = PROCESSES.Process(target=run, args=(kind, folder, seed, log), daemon=True)
    process.start()
    return process


def wait_for_lines(path: Path, count: int, process: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists() or len(path.read_text().splitlines()) < count:
        assert process.is_alive(), "the process ended by itself"
        assert time.monotonic() < deadline, "the process made no progress"
        time.sleep(0.05)


def read_log(path: Path) -> list[str]:
    # The last line may be cut by the kill.
    return (
        [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        if path.exists()
        else []
    )


def test_kills_lose_and_double_no_event(tmp_path: Path) -> None:
    PROCESSES.set_forkserver_preload(["tests.faults.event_process"])
    workspace = Workspace.create(tmp_path / "w", zone="UTC")
    chance = random.Random(3)
    logs = {name: tmp_path / f"{name}.log" for name in ("A", "B", "work", "read")}

    def open_process(name: str) -> Any:
        acknowledged = read_log(logs[name])
        kind = name if name in ("work", "read") else "load"
        # A loader that comes back repeats its last batches, for it cannot know whether they arrived.
        first = max(int(acknowledged[-1]) - BATCH, 0) if kind == "load" and acknowledged else 0
        return start(kind, workspace.path, f"{name}:{first}" if kind == "load" else "0", logs[name])

    running = {name: open_process(name) for name in logs}
    try:
        for _ in range(KILLS):
            name = chance.choice(sorted(running))
            process = running[name]
            wait_for_lines(logs[name], len(read_log(logs[name])) + 1, process)
            time.sleep(chance.random() * 0.2)
            process.kill()
            process.join()
            running[name] = open_process(name)
        for name, process in running.items():
            wait_for_lines(logs[name], len(read_log(logs[name])) + 1, process)
    finally:
        for process in running.values():
            process.kill()
            process.join()
    acknowledged = {
        f"{loader}-{number}"
        for loader in "AB"
        for first in map(int, read_log(logs[loader]))
        for number in range(first, first + BATCH)
    }
    assert_nothing_lost_or_doubled(workspace, acknowledged)
    counts = [tuple(map(int, line.split())) for line in read_log(logs["read"])]
    assert all(rows == distinct for rows, distinct in counts), "an event was seen twice"
    seen = [rows for rows, _ in counts]
    assert seen == sorted(seen), "an event that had been seen was not seen later"
    print(f"{KILLS} kills, {len(acknowledged)} events acknowledged, {len(counts)} readings")


def assert_nothing_lost_or_doubled(workspace: Workspace, acknowledged: set[str]) -> None:
    check(workspace, acknowledged)
    while compact(workspace).rows:
        pass
    merge_files(workspace, most_files=1)
    merge_profiles(workspace)
    vacuum(workspace, now() + timedelta(days=2))
    check(workspace, acknowledged)
    # What was acknowledged is known for good.
    again = [
        build_message(name.split("-")[0], int(name.split("-")[1])) for name in sorted(acknowledged)[:100]
    ]
    assert {one.status for one in take_events(workspace, again)} == {"duplicate"}
    files = {path.name for path in workspace.warehouse_folder.glob("*/*.parquet")}
    with workspace.store.snapshot() as connection:
        from aimwell.engine.manifest import list_hashes

        assert files == {Path(path).name for path in list_hashes(connection)}


def check(workspace: Workspace, acknowledged: set[str]) -> None:
    with workspace.read() as reader:
        events = reader.query("SELECT event_id, name FROM events").to_pylist()
        lines = reader.query("SELECT line_id FROM order_lines").to_pylist()
    ids = [row["event_id"] for row in events]
    assert len(ids) == len(set(ids)), "doubled"
    assert acknowledged <= set(ids), "lost"
    orders = sum(row["name"] == "Order Completed" for row in events)
    assert len({row["line_id"] for row in lines}) == len(lines) == orders
