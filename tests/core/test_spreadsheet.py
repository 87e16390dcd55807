"""Cells that no spreadsheet runs, and files that are whole or what they were."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.spreadsheet import guard_cell, restore_cell, restore_sql, write_csv


@given(st.text())
def test_guarded_cells_never_start_a_formula(value: str) -> None:
    cell = guard_cell(value).strip(" \u00a0\u3000")
    assert not cell.startswith(("=", "@", "＝", "＠", "\t", "\r", "|", "%"))
    assert not cell.startswith(("+", "-")) or cell[1:].replace(".", "").replace(" ", "").isdigit()


@given(st.text(st.sampled_from("'=+-@ 1a\u3000\n"), max_size=6))
def test_what_was_guarded_comes_back(value: str) -> None:
    assert restore_cell(guard_cell(value)) == value


@given(st.lists(st.text(st.sampled_from("'=+-@＝ 1.a\u3000\u00a0\n\t"), max_size=6), max_size=30))
def test_sql_restores_the_same(values: list[str]) -> None:
    with duckdb.connect() as connection:
        for value in [*values, "'+1 234", "'+1", "'=1+1"]:
            found = connection.execute(f"SELECT {restore_sql('c')} FROM (SELECT $1 AS c)", [value]).fetchone()
            assert found == (restore_cell(value),)


def test_telephone_numbers_stay_as_providers_want_them() -> None:
    for number in ("+8613800138000", "+86 138 0013 8000", "-12.50"):
        assert guard_cell(number) == number
    assert guard_cell("+1+cmd") == "'+1+cmd"


def test_a_file_that_breaks_off_leaves_what_stood_there(tmp_path: Path) -> None:
    file = tmp_path / "名单.csv"
    write_csv(file, ("name",), [["=HYPERLINK(1)"], ["王伟"]])
    assert file.read_bytes().startswith(b"\xef\xbb\xbf")

    def break_off() -> Iterator[list[str]]:
        yield ["half"]
        raise OSError

    with pytest.raises(OSError):
        write_csv(file, ("name",), break_off())
    with file.open(encoding="utf-8-sig", newline="") as stream:
        assert list(csv.reader(stream)) == [["name"], ["'=HYPERLINK(1)"], ["王伟"]]
    assert list(tmp_path.iterdir()) == [file]
