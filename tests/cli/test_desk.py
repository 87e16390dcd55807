"""``aimwell desk`` as agents and account managers type it, in both languages."""

from __future__ import annotations

import csv
import json
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from aimwell.cli.app import main
from aimwell.core.tables import TABLES
from aimwell.core.text import set_language
from aimwell.deployment.channels.calls import CallDesk
from aimwell.deployment.channels.channel import Message
from aimwell.deployment.desk.tasks import NewTask, add_tasks
from aimwell.engine.workspace import Workspace

FIRST = "2026-03-02"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "shop"
    workspace = Workspace.create(path, name="Shop")
    # At whatever hour the tests run: people may be called at any.
    monkeypatch.setenv("AIMWELL_DESK__OPEN_FROM", "0")
    monkeypatch.setenv("AIMWELL_DESK__OPEN_UNTIL", "24")
    monkeypatch.setenv("AIMWELL_DESK__VISITS_A_DAY", "1")
    with workspace.run("data", as_of=date(2026, 3, 1)) as run:
        rows = [
            {"customer_id": f"c{number}", "name": f"客户{number}", "source": "s", "account_manager": "李雷",
             "customer_class": "AAAAAAB"[number], "value": str(1000 - number)}
            for number in range(7)
        ]  # fmt: skip
        table = TABLES["customers"].build(
            [{"customer_id": row["customer_id"], "source": row["source"]} for row in rows]
        )
        for name in ("name", "account_manager", "customer_class", "value"):
            table = table.append_column(name, pa.array([row[name] for row in rows], pa.string()))
        run.replace("customers", table)
    message = Message("ab" * 32, "p1", "c1", "+8613800138000", "您好，生鲜8折。", name="王小明",
                      details={"reason": "高价值客户", "priority": "500"})  # fmt: skip
    CallDesk(workspace.store).deliver(message)
    with workspace.store.begin() as connection:
        card = {"text": "牛奶多少钱？", "channel": "sms"}
        add_tasks(connection, [NewTask("cd" * 32, "c2", "reply", "reply:sms", card, 0)], 1)
    workspace.close()
    return path


Run = Any


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def go(*words: str, code: int = 0) -> str:
        monkeypatch.setattr("sys.argv", ["aimwell", "-w", str(folder), *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        set_language("en")
        printed = capsys.readouterr()
        assert int(stopped.value.code or 0) == code, printed.err
        return printed.out + printed.err

    return go


def count_events(folder: Path, name: str) -> int:
    workspace = Workspace.open(folder)
    with workspace.read() as reader:
        rows = reader.query("SELECT count(*) AS n FROM events WHERE name = $name", {"name": name}).to_pylist()
    workspace.close()
    return int(rows[0]["n"])


def test_an_agents_day(folder: Path, run: Run) -> None:
    card = run("--language", "zh", "desk", "next", "--agent", "ann")
    assert "+8613800138000" in card and "高价值客户" in card and "外呼原因" in card
    assert run("--language", "en", "desk", "next", "--agent", "ann").count("abababababab") == 1, (
        "the same again"
    )
    reply = json.loads(run("--json", "desk", "next", "--agent", "bob"))["task"]
    assert reply["card"]["text"] == "牛奶多少钱？"
    assert "目前没有待办任务" in run("--language", "zh", "desk", "next", "--agent", "eve")
    later = "2099-01-01 10:00"
    assert "within the coming year" in run(
        "desk", "outcome", "abab", "call_back", "--agent", "ann", "--at", later, code=2
    )
    assert "is no instant" in run(
        "desk", "outcome", "abab", "call_back", "--agent", "ann", "--at", "soon", code=2
    )
    assert "已退回" in run("--language", "zh", "desk", "release", "abab", "--agent", "ann")
    assert json.loads(run("--json", "desk", "release", "abab", "--agent", "ann")) == {"released": False}
    run("desk", "next", "--agent", "ann")
    assert "not yours" in run("desk", "outcome", "abab", "reached", "--agent", "bob", code=2)
    assert "no outcome" in run("desk", "outcome", "abab", "bought", "--agent", "ann", code=2)
    done = run(
        "--language", "zh", "desk", "outcome", "abab", "do_not_call", "--agent", "ann", "--minutes", "1.5"
    )
    assert "已登记：勿再致电" in done
    run("desk", "outcome", "cdcd", "answered", "--agent", "bob", "--note", "已告知价格")
    listed = json.loads(run("--json", "desk", "list"))
    assert listed["counts"] == {"done": 2} and all("card" not in task for task in listed["tasks"])
    assert "勿再致电" in run("--language", "zh", "desk", "list", "--state", "done")
    assert [
        count_events(folder, name) for name in ("Call Completed", "Reply Handled", "Consent Withdrawn")
    ] == [1, 1, 1]


def test_visits_go_out_and_come_back(folder: Path, run: Run, tmp_path: Path) -> None:
    planned = json.loads(run("--json", "desk", "visits", "--plan", "--from", FIRST, "--days", "7"))
    assert [visit["customer_id"] for visit in planned["visits"]] == ["c0", "c1", "c2", "c3", "c4"]
    assert planned["left_out"] == 2, "five working days of one visit each"
    shown = run("--language", "zh", "desk", "visits", "--from", FIRST, "--manager", "李雷")
    assert "客户经理" in shown and "2026-03-06" in shown
    file = tmp_path / "visits.csv"
    assert "5" in run("desk", "export", str(file), "--from", FIRST)
    with file.open(encoding="utf-8-sig", newline="") as stream:
        header, *rows = csv.reader(stream)
    assert rows[0][header.index("customer's name")] == "客户0"
    place = header.index("outcome")
    for row, said in zip(rows, ["met", "not met", "bought", "", ""], strict=True):
        row[place] = said
    _write(file, [header, *rows])
    refused = run("--language", "en", "desk", "import", str(file), code=2)
    assert "row 4, column 'outcome'" in refused and "nothing was taken in" in refused
    rows[2][place] = "有意向"
    _write(file, [header, *rows])
    assert json.loads(run("--json", "desk", "import", str(file))) == {
        "entered": 3,
        "unchanged": 2,
        "aside": [],
    }
    assert count_events(folder, "Visit Completed") == 3
    assert "新登记 0 行" in run("--language", "zh", "desk", "import", str(file))
    _write(file, [["reference", "reason"], ["0123-4567-89AB-F", "moved"]])
    aside = tmp_path / "aside.csv"
    told = run("--language", "en", "desk", "import", str(file), "--as", "returns", "--rejects", str(aside))
    assert "put aside (rows 2)" in told and "0123-4567-89AB-F" in aside.read_text("utf-8-sig")
    _write(file, [["reference", "reason"], ["0123-4567-89AB-X", "moved"]])
    assert "row 2" in run("--language", "en", "desk", "import", str(file), "--as", "returns", code=2)


def test_customers_without_managers_are_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIMWELL_DESK__MANAGER_COLUMN", "kam")
    assert "manager_column" in run("--language", "en", "desk", "visits", "--plan", code=2)


def _write(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)
