"""Workbooks, JSON, packed files and databases come through the same door as text."""

from __future__ import annotations

import gzip
import json
import sqlite3
import struct
import zipfile
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import pytest
from openpyxl import Workbook

from aimwell.core.errors import BadInput
from aimwell.core.text import Text
from aimwell.data.scratch import Scratch
from aimwell.data.sources import Options, open_source
from aimwell.data.step import add_source
from tests.data.shop import count, make_workspace, query, write


def make_book(path: Path, *, sheets: int = 1) -> Path:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet["A1"] = "2026 年订单"
    sheet.merge_cells("A1:D1")
    for row in (
        ["会员编号", "下单时间", "数量", "金额"],
        ["001", datetime(2026, 1, 2, 9, 30), 2, 12.5],
        [13800138000, datetime(2026, 1, 3), 1, "#N/A"],
    ):
        sheet.append(row)
    sheet["D4"].data_type = "e"
    for number in range(1, sheets):
        book.create_sheet(f"more{number}").append(["x"])
    book.save(path)
    return path


def test_a_workbook_with_a_title_a_phone_and_a_failed_formula(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    result = add_source(shop, make_book(tmp_path / "o.xlsx"), accept=True)
    assert (result.summary["rows"], result.summary["reasons"]) == (2, {"formula_error": 1})
    assert [row["customer_id"] for row in query(shop, "SELECT customer_id FROM order_lines")] == ["001"]
    reject = query(shop, "SELECT row_number, column_name, record FROM rejects")[0]
    assert (reject["row_number"], reject["column_name"]) == (4, "金额")
    record = json.loads(str(reject["record"]))
    assert (record["会员编号"], record["金额"]) == ("13800138000", "#N/A")


def test_a_formula_without_a_saved_result_is_told_as_what_it_is(tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (
        ["会员编号", "下单时间", "数量", "金额", "优惠", "备注"],
        ["001", datetime(2026, 1, 2), 2, 12.5, 0, ""],
        ["002", datetime(2026, 1, 3), 1, "=C3*5", "=C3", "=1<2"],
        ["=A2", datetime(2026, 1, 4), 1, 5, 0, None],
        ["004", datetime(2026, 1, 5), 1, None, 0, None],
        ["005", datetime(2026, 1, 6), 1, 7, "=C6", None],
    ):
        sheet.append(row)
    book.save(tmp_path / "o.xlsx")
    shop = make_workspace(tmp_path)
    found = add_source(shop, tmp_path / "o.xlsx", table="order_lines", accept=True).summary
    assert found["reasons"] == {"formula_unsaved": 2, "missing_value": 1}
    told = query(shop, "SELECT row_number, column_name, message FROM rejects ORDER BY row_number")
    assert [(row["row_number"], row["column_name"]) for row in told] == [
        (3, "金额"),
        (4, "会员编号"),
        (5, "金额"),
    ]
    assert "“金额”列是公式，但文件中没有保存其计算结果" in Text.from_json(str(told[0]["message"])).render(
        "zh"
    )
    # Where a value may be missing the row is taken in, and the notice tells.
    bought = query(shop, "SELECT customer_id, discount FROM order_lines ORDER BY customer_id")
    assert [tuple(row.values()) for row in bought] == [("001", 0), ("005", None)]
    assert "5 cells hold a formula whose result was not saved, the first in row 3" in str(found["notices"])


def test_a_formula_with_a_saved_result_is_its_result(tmp_path: Path) -> None:
    # As Excel writes them: a shared formula, a text that is empty, an error, a cell with nothing in it.
    made = make_book(tmp_path / "made.xlsx")
    cells = (
        '<row r="1">'
        + "".join(
            f'<c r="{at}1" t="inlineStr"><is><t>{name}</t></is></c>'
            for at, name in zip("ABCDE", ("会员编号", "日期", "金额", "数量", "备注"), strict=True)
        )
        + "</row>"
        '<row r="2"><c r="A2" t="str"><f>"0"&amp;"01"</f><v>001</v></c>'
        '<c r="B2" t="str"><f>TEXT(1,"x")</f><v>2026-01-02</v></c><c r="C2"><f t="shared" si="0"/><v>12.5</v></c>'
        '<c r="D2"><f>1&lt;2</f><v>2</v></c><c r="E2" t="str"><f>""</f><v></v></c></row>'
        '<row r="3"><c r="A3" s="1"/><c r="B3"><f>1</f></c><c r="C3" t="e"><f>1/0</f><v>#DIV/0!</v></c></row>'
    )
    path = tmp_path / "o.xlsx"
    with zipfile.ZipFile(made) as source, zipfile.ZipFile(path, "w") as out:
        for name in source.namelist():
            content = source.read(name)
            if name == "xl/worksheets/sheet1.xml":
                start = content[: content.index(b"<worksheet")]
                space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
                content = (
                    start + f'<worksheet xmlns="{space}"><sheetData>{cells}</sheetData></worksheet>'.encode()
                )
            out.writestr(name, content)
    with Scratch(tmp_path) as scratch:
        source = open_source(scratch, path)
        rows = scratch.rows("SELECT * FROM raw ORDER BY row_number")
    assert [tuple(row.values())[1:] for row in rows] == [
        ("001", "2026-01-02", "12.5", "2", ""),
        ("", "#UNSAVED!", "#DIV/0!", "", ""),
    ]
    assert "1 cells hold a formula" in source.notices[0].render("en")


def test_several_sheets_are_one_question(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    path = make_book(tmp_path / "o.xlsx", sheets=2)
    with pytest.raises(BadInput, match="--sheet"):
        add_source(shop, path, accept=True)
    assert add_source(shop, path, sheet="Sheet", accept=True).summary["accepted"] == 1


def test_a_protected_workbook_says_so(tmp_path: Path) -> None:
    path = tmp_path / "o.xlsx"
    path.write_bytes(
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600 + "EncryptedPackage".encode("utf-16-le")
    )
    with pytest.raises(BadInput) as caught:
        add_source(make_workspace(tmp_path), path, accept=True)
    assert caught.value.code == "data.password"


def test_a_workbook_that_unfolds_to_gigabytes_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "o.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("[Content_Types].xml", "<x/>")
        archive.writestr("xl/workbook.xml", "<x/>")
        with archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as stream:
            for _ in range(900):
                stream.write(b" " * (1 << 20))
    with pytest.raises(BadInput) as caught:
        add_source(make_workspace(tmp_path), path, accept=True)
    assert caught.value.code == "data.workbook_too_large"


@pytest.mark.parametrize("array", [False, True])
def test_json_is_flattened_and_a_bad_line_is_set_aside(tmp_path: Path, array: bool) -> None:
    shop = make_workspace(tmp_path)
    rows = [
        {"user": {"id": "007"}, "event": "view", "timestamp": "2026-01-02 10:00:00", "n": 440101199001011234},
        {"user": {"id": "8"}, "event": "buy", "timestamp": "2026-01-02 11:00:00", "late": True},
    ]
    text = json.dumps(rows) if array else "\n".join([json.dumps(rows[0]), "{cut", json.dumps(rows[1])])
    result = add_source(shop, write(tmp_path, text, name="e.json" if array else "e.jsonl"), accept=True)
    assert result.summary["table"] == "events"
    assert result.summary["reasons"] == ({} if array else {"bad_json": 1})
    events = query(shop, "SELECT customer_id, properties FROM events ORDER BY occurred_at")
    assert [event["customer_id"] for event in events] == ["007", "8"]
    assert "440101199001011234" in str(events[0]["properties"])


def test_a_packed_file(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    path = tmp_path / "o.csv.gz"
    path.write_bytes(gzip.compress(b"customer_id,order_date,amount\n001,2026-01-02,5\n"))
    assert add_source(shop, path, accept=True).summary["source"] == "o"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(BadInput) as caught:
        add_source(shop, path, accept=True)
    assert caught.value.code == "data.broken_archive"


def test_a_sqlite_database_is_read_and_not_written(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    path = tmp_path / "erp.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE sales (customer_id TEXT, order_date TEXT, amount NUMERIC)")
        connection.execute("INSERT INTO sales VALUES ('001', '2026-01-02', 12.5)")
    connection.close()
    address = f"sqlite:///{path}"
    with pytest.raises(BadInput, match="--table"):
        add_source(shop, address, accept=True)
    assert add_source(shop, address, database_table="sales", accept=True).summary["accepted"] == 1
    asked = add_source(
        shop, address, query="SELECT * FROM sales WHERE amount > 1", source="sales", accept=True
    )
    assert asked.summary["known"] == 1 and count(shop, "order_lines") == 1
    with pytest.raises(BadInput) as refused:
        add_source(shop, address, query="DELETE FROM sales", accept=True)
    assert refused.value.code in ("data.database", "data.no_query")


def test_the_password_of_an_address_is_not_shown(tmp_path: Path) -> None:
    address = "postgresql+psycopg://me:s3cret@127.0.0.1:1/db?password=s3cret"
    with pytest.raises(BadInput) as caught:
        add_source(make_workspace(tmp_path), address, database_table="t", accept=True)
    assert "s3cret" not in caught.value.render("en") + str(caught.value.where)


def test_a_confirmed_mapping_is_remembered(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    text = "who,when,paid\n001,2026-01-02,5\n"
    said = {"customer_id": "who", "ordered_at": "when", "revenue": "paid"}
    add_source(shop, write(tmp_path, text), table="order_lines", mapping=said, source="till", accept=True)
    more = write(tmp_path, text.replace("001", "002"), name="february.csv")
    assert add_source(shop, more, source="till").summary["added"]["order_lines"] == 1


def test_a_repaired_reject_does_not_come_back_with_the_original(tmp_path: Path) -> None:
    from aimwell.data.step import write_rejected

    shop = make_workspace(tmp_path)
    path = write(tmp_path, "customer_id,order_date,amount\n1,2026-01-02,5\n2,2026/2/30,5\n")
    add_source(shop, path, accept=True)
    out = tmp_path / "rejects.csv"
    write_rejected(shop, out)
    out.write_text(out.read_text("utf-8-sig").replace("2026/2/30,5", "2026-02-28,5"), encoding="utf-8")
    assert add_source(shop, out, accept=True).summary["accepted"] == 1
    assert count(shop, "rejects") == 0
    again = write(tmp_path, path.read_text() + "3,2026-03-01,5\n")
    assert add_source(shop, again, accept=True).summary["rejected"] == 1
    assert (count(shop, "order_lines"), count(shop, "rejects")) == (3, 0)


def test_signals_are_loadable(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    path = write(tmp_path, "会员编号,调查日期,满意度,意见\n001,2026-01-02,9,很好\n")
    assert add_source(shop, path, accept=True).summary["table"] == "signals"
    assert query(shop, "SELECT kind, score, text FROM signals") == [
        {"kind": "satisfaction", "score": 9.0, "text": "很好"}
    ]


@pytest.mark.parametrize("header", ["NPS评分", "nps_score", "NPS"])
def test_recommendation_is_told_by_its_column(tmp_path: Path, header: str) -> None:
    shop = make_workspace(tmp_path)
    path = write(tmp_path, f"会员编号,调查日期,{header}\n001,2026-01-02,9\n")
    add_source(shop, path, table="signals", accept=True)
    assert query(shop, "SELECT kind, name, score FROM signals") == [
        {"kind": "loyalty", "name": "nps", "score": 9.0}
    ]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "gb18030", "big5"])
def test_encodings_of_chinese_files(tmp_path: Path, encoding: str) -> None:
    shop = make_workspace(tmp_path)
    text = (
        "會員編號,下單時間,商品名稱,金額\n001,2026-01-02,鮮牛奶,5\n"
        if encoding == "big5"
        else ("会员编号,下单时间,商品名称,金额\n001,2026-01-02,鲜牛奶,5\n")
    )
    path = write(tmp_path, text, encoding=encoding)
    said = {"customer_id": text.split(",")[0], "ordered_at": text.split(",")[1]}
    add_source(shop, path, table="order_lines", mapping=said, accept=True)
    assert query(shop, "SELECT customer_id FROM order_lines") == [{"customer_id": "001"}]


def test_a_sheet_of_libre_office(tmp_path: Path) -> None:
    office = "urn:oasis:names:tc:opendocument:xmlns"
    rows = [
        ["会员编号", "下单时间", "数量", "金额"],
        ["001", "2026-01-02T09:30:00", "2", "12.5"],
        ["002", "2026-01-03T00:00:00", "1", "7"],
    ]
    kinds = ["string", "date", "float", "float"]
    cells = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{value}</text:p></table:table-cell>'
            if number == 0 or kind == "string"
            else f'<table:table-cell office:value-type="{kind}" '
            f'office:{"date-" if kind == "date" else ""}value="{value}"><text:p>{value}</text:p></table:table-cell>'
            for kind, value in zip(kinds, row, strict=True)
        )
        + "</table:table-row>"
        for number, row in enumerate(rows)
    )
    path = tmp_path / "orders.ods"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr(
            "META-INF/manifest.xml",
            '<m:manifest xmlns:m="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>',
        )
        archive.writestr(
            "content.xml",
            f'<office:document-content xmlns:office="{office}:office:1.0" xmlns:table="{office}:table:1.0" '
            f'xmlns:text="{office}:text:1.0"><office:body><office:spreadsheet><table:table table:name="订单">{cells}'
            "</table:table></office:spreadsheet></office:body></office:document-content>",
        )
    shop = make_workspace(tmp_path)
    assert add_source(shop, path, accept=True).summary["accepted"] == 2
    found = query(shop, "SELECT customer_id, revenue, ordered_hour FROM order_lines ORDER BY customer_id")
    assert [(row["customer_id"], float(str(row["revenue"])), row["ordered_hour"]) for row in found] == [
        ("001", 12.5, 9),
        ("002", 7.0, 0),
    ]


def test_an_old_workbook_is_read(tmp_path: Path) -> None:
    found = find_spec("statsmodels")
    folder = (
        Path(found.submodule_search_locations[0]) if found and found.submodule_search_locations else Path()
    )
    path = next(iter(folder.glob("datasets/macrodata/src/**/macrodata.xls/macrodata.xls")), folder)
    if not path.is_file():
        pytest.skip("no old workbook (.xls) is at hand")
    with Scratch() as scratch:
        source = open_source(scratch, path, Options(sheet="Quarterly"))
        rows = scratch.rows("SELECT count(*) AS rows, count(DISTINCT row_number) AS numbers FROM raw")[0]
    assert len(source.columns) > 5 and source.broken == 0
    assert rows["rows"] == rows["numbers"] == source.rows > 150


def pack_record(kind: int, content: bytes = b"") -> bytes:
    """A record of a binary workbook; kinds and sizes beyond seven bits take two bytes."""
    parts = [(number & 0x7F | (0x80 if number > 0x7F else 0), number >> 7) for number in (kind, len(content))]
    return b"".join(bytes([low, *([high] if high else [])]) for low, high in parts) + content


def write_binary_book(path: Path, rows: list[list[str | float | bytes]]) -> Path:
    """A .xlsb of one sheet with text, numbers and failed formulas (their code as bytes)."""

    def pack_text(text: str) -> bytes:
        return struct.pack("<I", len(text)) + text.encode("utf-16-le")

    def pack_cell(column: int, value: str | float | bytes) -> bytes:
        head = struct.pack("<II", column, 0)
        if isinstance(value, bytes):
            return pack_record(3, head + value)
        if isinstance(value, str):
            return pack_record(6, head + pack_text(value))
        return pack_record(5, head + struct.pack("<d", value))

    size = pack_record(148, struct.pack("<IIII", 0, len(rows) - 1, 0, len(rows[0]) - 1))
    sheet = pack_record(129) + size + pack_record(145)
    for number, row in enumerate(rows):
        sheet += pack_record(0, struct.pack("<II", number, 0) + bytes(17))
        sheet += b"".join(pack_cell(column, value) for column, value in enumerate(row))
    named = struct.pack("<II", 0, 1) + pack_text("rId1") + pack_text("订单")
    book = b"".join(
        pack_record(kind, content)
        for kind, content in ((131, b""), (143, b""), (156, named), (144, b""), (132, b""))
    )
    kinds = "http://schemas.openxmlformats.org"
    relation = (
        f'Id="rId1" Type="{kinds}/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.bin"'
    )
    relations = f'<Relationships xmlns="{kinds}/package/2006/relationships"><Relationship {relation}/></Relationships>'
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.bin", book)
        archive.writestr("xl/_rels/workbook.bin.rels", relations)
        archive.writestr("xl/worksheets/sheet1.bin", sheet + pack_record(146) + pack_record(130))
    return path


def test_a_binary_workbook_is_read_and_its_failed_formulas_are_told(tmp_path: Path) -> None:
    rows: list[list[str | float | bytes]] = [
        ["会员编号", "订单号", "下单日期", "金额"],
        ["001", "o1", "2026-01-02", 12.5],
        ["002", "o2", "2026-01-03", b"\x2a"],
        ["003", "o3", "2026-01-04", 3.0],
    ]
    shop = make_workspace(tmp_path)
    found = add_source(shop, write_binary_book(tmp_path / "o.xlsb", rows), accept=True).summary
    assert (found["rows"], found["reasons"]) == (3, {"formula_error": 1})
    assert [row["customer_id"] for row in query(shop, "SELECT customer_id FROM order_lines ORDER BY 1")] == [
        "001",
        "003",
    ]
    assert query(shop, "SELECT value, row_number FROM rejects") == [{"value": "#N/A", "row_number": 3}]
    broken = tmp_path / "cut.xlsb"
    broken.write_bytes((tmp_path / "o.xlsb").read_bytes()[:400])
    with pytest.raises(BadInput, match="workbook"):
        add_source(shop, broken, accept=True)
