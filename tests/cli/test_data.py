"""What people's files may hold does not break the page, and a failed delivery does not look like a success."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from aimwell.cli.app import main
from aimwell.core.text import set_language

ODD = "order_id,customer_id,order_date,amount\nO1,[/red]C1,[/x] soon,3\nO2,C[bold]2,2024-01-01,4\n"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["aimwell", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    set_language("en")
    return int(stopped.value.code or 0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "200")
    path = tmp_path / "shop"
    assert run(monkeypatch, "init", str(path)) == 0
    return str(path)


def add(monkeypatch: pytest.MonkeyPatch, folder: str, text: str, name: str) -> int:
    file = Path(folder).parent / name
    file.write_text(text, encoding="utf-8")
    return run(monkeypatch, "-w", folder, "data", "add", str(file), "--as", "order_lines", "--yes")


def test_brackets_in_files_are_printed_as_they_are(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(monkeypatch, folder, ODD, "[bold]orders[red].csv") == 0
    assert run(monkeypatch, "-w", folder, "data", "rejects") == 0
    assert run(monkeypatch, "-w", folder, "data", "sources") == 0
    printed = capsys.readouterr()
    assert "[/x] soon" in printed.out
    assert "[bold]orders[red].csv" in printed.out
    assert "[bold]orders[red].csv" in printed.err


def test_a_file_whose_rows_were_all_set_aside_ends_with_an_error_code(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "order_id,customer_id,order_date,amount\nO1,C1,soon,3\nO2,C2,later,4\n"
    assert add(monkeypatch, folder, text, "orders.csv") == 1
    assert "0 accepted, 2 rejected" in capsys.readouterr().out
    assert add(monkeypatch, folder, text + "O3,C3,2024-01-01,4\n", "more.csv") == 0


def test_rejects_of_an_unknown_source_are_no_empty_list(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(monkeypatch, folder, ODD, "orders.csv") == 0
    assert run(monkeypatch, "-w", folder, "data", "rejects", "--source", "nosuch") == 2
    assert "The sources are: orders." in capsys.readouterr().err


def test_orders_that_came_before_under_another_name_are_told_at_once(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "order_id,customer_id,order_date,amount\nO1,C1,2024-01-01,3\nO2,C2,2024-01-02,4\n"
    assert add(monkeypatch, folder, text, "march.csv") == 0
    assert "two sources" not in capsys.readouterr().out
    assert add(monkeypatch, folder, text, "march(1).csv") == 0
    said = capsys.readouterr().out
    assert "! 2 of 2 orders were delivered by two sources and count twice." in said and "--source" in said
