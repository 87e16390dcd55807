"""Loads are killed or interrupted at random moments; nothing may be lost, doubled or left lying about."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aimwell.data.records import CHUNK
from aimwell.data.staging import Stage
from aimwell.data.step import add_source
from aimwell.engine.workspace import Workspace
from tests.faults.victims import PATIENCE, count_kills

ROWS = 60_000
KILLS = count_kills(6)
SCRIPT = """
import sys
from aimwell.data import encoding, sources
from aimwell.data.step import add_source
from aimwell.engine.workspace import Workspace
encoding.read_text.__kwdefaults__["size"] = 1 << 17
sources.CHUNK = 1 << 17  # many pieces, so that kills fall between them
print("ready", flush=True)
add_source(Workspace.open(sys.argv[1]), sys.argv[2], table="order_lines", accept=True, progress=print)
"""
COMMAND = """
import sys
from aimwell.cli.app import main
from aimwell.data import encoding, sources
encoding.read_text.__kwdefaults__["size"] = 1 << 17
sources.CHUNK = 1 << 17
sys.argv = ["aimwell", "-w", sys.argv[1], "data", "add", sys.argv[2], "--as", "order_lines", "--yes"]
main()
"""


def write_orders(path: Path) -> None:
    lines = ["order_id,customer_id,order_date,qty,amount"]
    lines += [
        f"o{n},c{n % 997},2025-{1 + n % 12:02}-{1 + n % 28:02},{1 + n % 5},{n % 100}.50" for n in range(ROWS)
    ]
    lines[30_000] = "cut,line"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def start(shop: Path, path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(shop), str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    return process


def read_counts(workspace: Workspace) -> tuple[int, int, int]:
    with workspace.read() as reader:
        row = reader.query(
            """
            SELECT (SELECT count(*) FROM order_lines) AS lines,
                (SELECT count(DISTINCT line_id) FROM order_lines) AS ids, (SELECT count(*) FROM rejects) AS rejects
            """
        ).to_pylist()[0]
    return int(row["lines"]), int(row["ids"]), int(row["rejects"])


def list_unfinished(shop: Path) -> list[Path]:
    staged = list((shop / "staging").glob("*/*")) if (shop / "staging").exists() else []
    return staged + list((shop / "warehouse").rglob("*.writing"))


def test_killed_loads_lose_and_double_nothing(tmp_path: Path) -> None:
    shop, path = tmp_path / "shop", tmp_path / "orders.csv"
    Workspace.create(shop).close()
    write_orders(path)
    chance = random.Random("load")
    done = (ROWS - 1, ROWS - 1, 1)
    for _ in range(KILLS):
        with start(shop, path) as process:
            time.sleep(chance.random() * 2.5)
            process.kill()
        workspace = Workspace.open(shop)
        # All of the file or nothing of it, at whatever moment the process died.
        assert read_counts(workspace) in ((0, 0, 0), done)
        workspace.close()
    with start(shop, path) as process:
        assert process.wait(PATIENCE) == 0
    workspace = Workspace.open(shop)
    assert read_counts(workspace) == done
    assert list_unfinished(shop) == []
    again = add_source(workspace, path, table="order_lines", accept=True)
    assert again.summary["unchanged"] and read_counts(workspace) == done
    workspace.close()


def test_reading_goes_on_from_what_was_staged(tmp_path: Path) -> None:
    shop, path = tmp_path / "shop", tmp_path / "orders.csv"
    Workspace.create(shop).close()
    write_orders(path)
    assert path.stat().st_size < CHUNK
    process = start(shop, path)
    deadline = time.monotonic() + PATIENCE
    while not (staged := list((shop / "staging").glob("*/piece-000002.parquet"))):
        assert time.monotonic() < deadline and process.poll() is None, "nothing was staged"
        time.sleep(0.002)
    process.kill()
    process.communicate()
    written = staged[0].with_name("piece-000000.parquet").stat().st_mtime_ns
    with start(shop, path) as second:
        while second.poll() is None:
            first = staged[0].with_name("piece-000000.parquet")
            try:
                assert first.stat().st_mtime_ns == written, "the first piece was read anew"
            except FileNotFoundError:
                break
            time.sleep(0.01)
        assert second.wait(PATIENCE) == 0
    workspace = Workspace.open(shop)
    assert read_counts(workspace) == (ROWS - 1, ROWS - 1, 1)
    workspace.close()


@pytest.mark.parametrize("wait", [0.0, 0.5, 1.2])
def test_an_interrupted_command_ends_in_words_and_goes_on_when_repeated(tmp_path: Path, wait: float) -> None:
    shop, path = tmp_path / "shop", tmp_path / "orders.csv"
    Workspace.create(shop).close()
    write_orders(path)
    command = [sys.executable, "-c", COMMAND, str(shop), str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and not list((shop / "staging").glob("*/piece-000001.parquet")):
        assert time.monotonic() < deadline, "nothing was staged"
        time.sleep(0.002)
    time.sleep(wait)
    process.send_signal(signal.SIGINT)
    printed = "".join(process.communicate(timeout=PATIENCE))
    # An interruption that falls into a finaliser is told by Python itself, and the command goes on to its end.
    assert "Traceback" not in re.sub(
        r"Exception ignored in.*?KeyboardInterrupt", "", printed, flags=re.DOTALL
    )
    workspace = Workspace.open(shop)
    done = (ROWS - 1, ROWS - 1, 1)
    # The signal may come when all is done, even when Python itself is ending.
    ended = (0, -signal.SIGINT) if read_counts(workspace) == done else ()
    assert process.returncode in (130, *ended), printed
    assert read_counts(workspace) in ((0, 0, 0), done)
    workspace.close()
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert again.returncode == 0, again.stderr
    workspace = Workspace.open(shop)
    assert read_counts(workspace) == done
    assert list_unfinished(shop) == []
    workspace.close()


def test_what_was_stored_is_cleared_away_though_its_process_was_not_able_to(tmp_path: Path) -> None:
    shop, path = tmp_path / "shop", tmp_path / "orders.csv"
    workspace = Workspace.create(shop)
    write_orders(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stage, "remove", _stop)
        with pytest.raises(KeyboardInterrupt):
            add_source(workspace, path, table="order_lines", accept=True)
    assert read_counts(workspace) == (ROWS - 1, ROWS - 1, 1) and list_unfinished(shop) != []
    assert add_source(workspace, path, table="order_lines", accept=True).summary["unchanged"]
    assert list_unfinished(shop) == []
    workspace.close()


def _stop(stage: Stage) -> None:
    raise KeyboardInterrupt
