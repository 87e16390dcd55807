from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.data.pieces import Fault
from aimwell.data.scratch import Scratch
from aimwell.data.sources import Options, Source, open_source
from tests.data.shop import write

CELL = st.text(st.characters(codec="gb18030", exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), max_size=8)
CODED = {"utf-8": "utf-8", "utf-8-sig": "utf-8", "utf-16": "utf-16-le"}


def read(path: Path, header: tuple[str, ...] | None = None) -> tuple[Source, list[tuple[str, ...]]]:
    with Scratch() as scratch:
        source = open_source(scratch, path, Options(header))
        rows = scratch.rows("SELECT * FROM raw ORDER BY row_number")
    return source, [tuple(row[f"c{n}"] for n in range(len(source.columns))) for row in rows]


def find_faults(path: Path) -> list[Fault]:
    with Scratch() as scratch:
        open_source(scratch, path)
        return [Fault(**row) for row in scratch.rows("SELECT * FROM faults ORDER BY row_number")]


def refuse(path: Path) -> BadInput:
    with pytest.raises(BadInput) as caught:
        read(path)
    assert caught.value.remedy is not None
    assert caught.value.where["file"]
    return caught.value


@settings(max_examples=20)
@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=8),
    encoding=st.sampled_from(sorted(CODED)),
    delimiter=st.sampled_from([",", "\t", ";", "|"]),
)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], encoding: str, delimiter: str
) -> None:
    kept = [row for row in rows if any(row)]
    if not kept:
        return
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    writer.writerows([("customer id", "date", "amount"), *kept])
    path = write(tmp_path_factory.mktemp("t"), stream.getvalue(), encoding=encoding)
    source, found = read(path)
    assert source.columns == ("customer id", "date", "amount")
    assert source.encoding == CODED[encoding]
    assert found == kept


@settings(max_examples=20)
@given(
    st.lists(
        st.sampled_from(
            ["a,b,c", "a,b", "a,b,c,d", 'a,"b,c', '"a\nb",c,d', '"a"x,b,c', "", '"a""b",c,d', ",,"]
        )
    )
)
def test_every_line_is_accounted_for(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = write(tmp_path_factory.mktemp("t"), "\n".join(["customer id,date,amount", *lines, "a,b,c", ""]))
    source, found = read(path)
    assert source.rows == len(found) + source.broken
    text = path.read_text().split("\n")[1:-1]
    spanned = sum(cell.count("\n") for row in found for cell in row)
    assert source.rows + source.blank + spanned == len(text)


def test_an_open_quote_costs_its_own_line_only(tmp_path: Path) -> None:
    path = write(tmp_path, 'user_id,b\n1,"x\n2,y\n3,"z"\n4,w\n')
    assert read(path)[1] == [("2", "y"), ("3", "z"), ("4", "w")]
    assert find_faults(path) == [Fault(2, "bad_quote", '1,"x')]


def test_leading_zeros_and_gb18030_survive(tmp_path: Path) -> None:
    text = "会员编号,商品名称\n001,鲜牛奶（一升）\n002,面包\n"
    source, found = read(write(tmp_path, text, encoding="gb18030"))
    assert source.encoding == "gb18030"
    assert found == [("001", "鲜牛奶（一升）"), ("002", "面包")]


def test_accented_latin_is_not_taken_for_chinese(tmp_path: Path) -> None:
    source, found = read(write(tmp_path, "customer,city\n1,Malmö\n2,Orléans\n", encoding="cp1252"))
    assert source.encoding == "cp1252"
    assert found[0] == ("1", "Malmö")


def test_a_broken_character_costs_its_line(tmp_path: Path) -> None:
    path = tmp_path / "o.csv"
    path.write_bytes(
        "客户编号,名称\n".encode() + "1,面包\n".encode() * 300 + b"2,\xe9\x9d\n" + "3,奶".encode()
    )
    assert len(read(path)[1]) == 301
    assert [(fault.reason, fault.row_number) for fault in find_faults(path)] == [("bad_encoding", 302)]


def test_parquet_ids_with_gaps_stay_whole_numbers(tmp_path: Path) -> None:
    table = pa.table(
        {"CustomerID": [17850.0, None], "x": [1.5, 2.0], "t": pa.array([0, 1], pa.timestamp("s"))}
    )
    pq.write_table(table, tmp_path / "o.parquet")
    _, found = read(tmp_path / "o.parquet")
    assert found == [("17850", "1.5", "1970-01-01 00:00:00"), ("", "2", "1970-01-01 00:00:01")]


def test_blank_separated_text(tmp_path: Path) -> None:
    source, found = read(
        write(tmp_path, " customer_id  date\r\n 00001 19970101\r\n 2  19970102\r\n", name="a.txt")
    )
    assert source.columns == ("customer_id", "date")
    assert found == [("00001", "19970101"), ("2", "19970102")]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("o.xlsx", b"PK\x03\x04", "data.broken_workbook"),
        ("o.csv", b"PK\x03\x04", "data.broken_workbook"),
        ("o.xls", b"<html><body><table><tr><td>id</td></tr></table></body></html>", "data.web_page"),
        ("o.xls", "\ufeff<HTML xmlns:x='excel'>".encode("utf-16-le"), "data.web_page"),
        ("o.doc", b"x", "data.unknown_type"),
        ("o.csv", b"", "data.empty_file"),
        ("o.csv", b"\n \n", "data.empty_file"),
        ("o.csv", b"customer_id,date\n", "data.no_rows"),
        ("o.csv", b"customer_id,date,Date \n1,2,3\n", "data.duplicate_header"),
        ("o.csv", b"1,2268318,pv,1511544070\n2,3,pv,4\n", "data.no_header"),
        ("o.csv", b'customer_id,"da\n1,2\n', "data.bad_header"),
        ("o.csv", b"a,b\n" + b"\xff\xff,\x80\n" * 9, "data.unknown_encoding"),
        ("o.parquet", b"PAR1 nothing", "data.broken_parquet"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, code: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert refuse(tmp_path / name).code == code


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refuse(tmp_path / "gone.csv").code == "data.no_file"


def test_given_names_make_the_first_line_data(tmp_path: Path) -> None:
    _, found = read(write(tmp_path, "1,2\n3,4\n"), header=("user_id", "item_id"))
    assert found == [("1", "2"), ("3", "4")]
    with pytest.raises(BadInput, match="1 column names"):
        read(tmp_path / "orders.csv", header=("user_id",))
