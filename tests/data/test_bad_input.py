"""Files as people really send them: each ends in rows that are told apart, or in one error with place and remedy."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from openpyxl import Workbook

from aimwell.core.errors import BadInput
from aimwell.data.step import add_source, list_rejects
from aimwell.engine.workspace import Workspace
from tests.data.shop import count, make_workspace, query, write

HEAD = "customer_id,order_date,quantity,amount\n"
AS_OF = date(2026, 6, 1)
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def add_orders(shop: Workspace, path: Path) -> dict[str, object]:
    summary = add_source(shop, path, table="order_lines", accept=True, as_of=AS_OF).summary
    assert summary["rows"] == summary["accepted"] + summary["rejected"]
    assert count(shop, "order_lines") == summary["accepted"]
    assert count(shop, "rejects") == summary["rejected"]
    return summary


def refuse(folder: Path, content: bytes, name: str = "orders.csv") -> BadInput:
    path = folder / name
    path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        add_source(make_workspace(folder), path, table="order_lines", accept=True)
    error = caught.value
    assert error.remedy is not None and error.remedy.render("zh") != error.remedy.render("en")
    assert error.where["file"] == name
    return error


@pytest.mark.parametrize(
    ("content", "code", "where", "remedy"),
    [
        (b"", "data.empty_file", {}, "first line"),
        (b"\xef\xbb\xbf\r\n\r\n", "data.empty_file", {}, "first line"),
        (HEAD.encode(), "data.no_rows", {}, "with its rows"),
        (b"customer_id,date, Date ,amount\n1,2026-01-02,2026-01-02,5\n", "data.duplicate_header", {}, "name"),
        (b"17,2026-01-02,3,5\n18,2026-01-03,1,6\n", "data.no_header", {"row": 1}, "--header"),
        (b'customer_id,"date\n1,2026-01-02\n', "data.bad_header", {"row": 1}, "first line"),
        (
            b"customer_id,date\n1,3/4/2026\n2,5/6/2026\n",
            "data.ambiguous_dates",
            {"column": "date"},
            "--dates",
        ),
        (b"customer_id,date\n1,13/4/2026\n2,5/16/2026\n", "data.mixed_dates", {"column": "date"}, "--dates"),
        (b"a,b\n" + b"\xff\xff,\x80\n" * 9, "data.unknown_encoding", {}, "UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_names_place_and_remedy(
    tmp_path: Path, content: bytes, code: str, where: dict[str, object], remedy: str
) -> None:
    error = refuse(tmp_path, content)
    assert error.code == code and error.remedy is not None
    assert where.items() <= error.where.items()
    assert remedy in error.remedy.render("en")


def test_a_table_without_customers_says_what_it_may_still_be(tmp_path: Path) -> None:
    error = refuse(tmp_path, b"order_no,order_date,sku,price\nA1,2026-01-02,milk,5\nA2,2026-01-03,tea,6\n")
    assert error.code == "data.missing_column" and error.remedy is not None
    told = error.render("en")
    assert "--map customer_id=" in told and "products" in told and "customers" in told


def test_values_as_chinese_offices_write_them(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    rows = [
        ("001", "2026/1/2", "1", '"1,234.50"'),
        ("002", "2026年1月3日", "１２", '"￥1,234.50"'),
        ("003", "2026-01-04", "2", "１，２３４．５元"),
        ("004", "2026.1.5", "1", "12.5%"),
        ("005", "20260106", "1", "(8.00)"),
        ("006", "2026/2/30", "1", "5"),
        ("007", "2026-01-08", "1", '"1,23"'),
        ("008", "2026-06-01", "1", "5"),
    ]
    text = HEAD.replace(",quantity", " , quantity ") + "".join(",".join(row) + "\n" for row in rows)
    summary = add_orders(shop, write(tmp_path, text, encoding="gb18030"))
    assert summary["encoding"] == "gb18030"
    found = query(
        shop, "SELECT customer_id, ordered_on, quantity, revenue FROM order_lines ORDER BY customer_id"
    )
    assert [row["revenue"] for row in found] == [
        Decimal("1234.50"),
        Decimal("1234.50"),
        Decimal("1234.50"),
        Decimal("0.13"),
        Decimal("-8.00"),
    ]
    assert found[1]["quantity"] == 12
    assert [row["ordered_on"] for row in found] == [date(2026, 1, day) for day in range(2, 7)]
    rejects = query(shop, "SELECT row_number, column_name, value, reason FROM rejects ORDER BY row_number")
    assert rejects == [
        {"row_number": 7, "column_name": "order_date", "value": "2026/2/30", "reason": "bad_date"},
        {"row_number": 8, "column_name": "amount", "value": "1,23", "reason": "bad_number"},
        {"row_number": 9, "column_name": "order_date", "value": "2026-06-01", "reason": "from_future"},
    ]
    messages = [reject["message"]["en"] for reject in list_rejects(shop)["rejects"]]
    assert all("Write it" in message or "Correct" in message for message in messages)


def test_lines_that_are_broken_cost_themselves_only(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    lines = [
        b"1,2026-01-01,1,5",
        b"2,2026-01-02,1,\x005",
        b'3,"2026-01-03,1,5',
        b"4,2026-01-04,1," + b"9" * 3_000_000,
        b"5,2026-01-05,1,5,extra",
        "6,2026-01-06,1,五".encode("gb18030"),
        "七,2026-01-07,1,5".encode(),
        *(f"客户{number},2026-01-07,1,5".encode() for number in range(40)),
        b"8,2026-01",
    ]
    path = tmp_path / "orders.csv"
    path.write_bytes(HEAD.encode() + b"\n".join(lines))
    add_orders(shop, path)
    accepted = query(shop, "SELECT customer_id FROM order_lines ORDER BY customer_id")
    assert [row["customer_id"] for row in accepted][:2] == ["1", "七"] and len(accepted) == 42
    rejects = query(shop, "SELECT row_number, reason, record FROM rejects ORDER BY row_number")
    assert [(row["row_number"], row["reason"]) for row in rejects] == [
        (3, "nul_byte"),
        (4, "bad_quote"),
        (5, "cell_too_long"),
        (6, "too_many_columns"),
        (7, "bad_encoding"),
        (49, "too_few_columns"),
    ]
    assert all(len(str(row["record"])) < 40_000 for row in rejects)
    assert json.loads(str(rejects[5]["record"]))["aimwell_line"] == "8,2026-01"


def test_lines_that_end_in_cr_alone(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    text = (HEAD + "001,2026-01-01,1,5\n002,2026-01-02,1,6\n").replace("\n", "\r")
    assert add_orders(shop, write(tmp_path, text))["accepted"] == 2


def test_clocks_that_go_backwards_are_told(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    text = (
        "user_id,event,timestamp,received_at\n"
        "1,view,2026-01-02 10:00:00,2026-01-02 09:00:00\n"
        "2,view,2026-01-02 10:00:00,2026-01-02 10:00:01\n"
        "3,view,2027-01-02 10:00:00,2027-01-02 10:00:01\n"
    )
    summary = add_source(
        shop, write(tmp_path, text, name="e.csv"), table="events", accept=True, as_of=AS_OF
    ).summary
    assert summary["reasons"] == {"from_future": 1} and summary["accepted"] == 2
    assert any("row 2: a clock goes wrong" in notice["en"] for notice in summary["notices"])


def test_a_workbook_with_merged_cells_and_failed_formulas(tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (
        ["客户编号", "下单日期", "数量", "金额"],
        ["001", date(2026, 1, 2), 1, 5],
        [None, date(2026, 1, 3), 1, 6],
        ["002", date(2026, 1, 4), "#DIV/0!", 7],
        ["003", date(2026, 1, 5), 1, "#N/A"],
    ):
        sheet.append(row)
    sheet.merge_cells("A2:A3")
    sheet["C4"].data_type = sheet["D5"].data_type = "e"
    book.save(tmp_path / "orders.xlsx")
    shop = make_workspace(tmp_path)
    summary = add_orders(shop, tmp_path / "orders.xlsx")
    assert summary["reasons"] == {"formula_error": 2}
    found = query(shop, "SELECT customer_id FROM order_lines ORDER BY ordered_on")
    assert [row["customer_id"] for row in found] == ["001", "001"]
    told = query(shop, "SELECT row_number, column_name, value FROM rejects ORDER BY row_number")
    assert [tuple(row.values()) for row in told] == [(4, "数量", "#DIV/0!"), (5, "金额", "#N/A")]


@pytest.mark.parametrize("kind", ["password", "bomb"])
def test_workbooks_that_are_not_opened(tmp_path: Path, kind: str) -> None:
    if kind == "password":
        content = OLE + b"\0" * 600 + "EncryptedPackage".encode("utf-16-le")
    else:
        with zipfile.ZipFile(tmp_path / "made.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            archive.writestr("[Content_Types].xml", "<x/>")
            archive.writestr("xl/workbook.xml", "<x/>")
            with archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as stream:
                for _ in range(900):
                    stream.write(b" " * (1 << 20))
        content = (tmp_path / "made.zip").read_bytes()
    error = refuse(tmp_path, content, "orders.xlsx")
    assert error.code == ("data.password" if kind == "password" else "data.workbook_too_large")


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "aimwell", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("content", "code", "told"),
    [(HEAD, 2, "no rows"), (HEAD + "1,2026/2/30,1,5\n", 1, "0 accepted, 1 rejected")],
)
def test_the_command_ends_with_words_and_a_code(tmp_path: Path, content: str, code: int, told: str) -> None:
    make_workspace(tmp_path).close()
    path = write(tmp_path, content)
    place = ("-w", str(tmp_path / "shop"), "--language", "en")
    done = run_command(*place, "data", "add", str(path), "--as", "order_lines", "--yes")
    assert done.returncode == code
    assert told in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("rows", [1, 2, 60])
def test_a_quote_that_is_never_closed_in_the_first_row_costs_that_row(tmp_path: Path, rows: int) -> None:
    path = tmp_path / "orders.csv"
    good = "".join(f"c{number},2026-01-05,1,{number}\n" for number in range(rows - 1))
    path.write_text(f'{HEAD}"c,2026-01-05,1,9\n{good}')
    summary = add_orders(make_workspace(tmp_path), path)
    assert (summary["rows"], summary["rejected"]) == (rows, 1)


def test_messages_of_programs_are_shown_their_own_door(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    common = {"userId": "u1", "timestamp": "2026-01-05T08:00:00Z"}
    messages = [
        {**common, "type": "identify", "messageId": "m1", "traits": {"email": "a@b.c"}},
        {**common, "type": "track", "event": "View", "messageId": "m2"},
    ]
    path.write_text("".join(json.dumps(message) + "\n" for message in messages))
    shop = make_workspace(tmp_path)
    with pytest.raises(BadInput) as caught:
        add_source(shop, path, accept=True)
    assert caught.value.code == "data.messages"
    assert "data events add" in str(caught.value.remedy)
    # Whoever says that they are rows is believed.
    assert add_source(shop, path, table="events", accept=True).summary["accepted"] == 1


def test_traditional_headers_are_read_like_simplified_ones(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(
        "會員編號,訂單編號,下單時間,實付金額\nA1,X1,2026-01-05,10\nA2,X2,2026-01-05,12\n".encode("big5")
    )
    shop = make_workspace(tmp_path)
    assert add_source(shop, path, accept=True).summary["accepted"] == 2
    rows = query(shop, "SELECT customer_id, order_id, revenue FROM order_lines ORDER BY order_id")
    assert [tuple(row.values()) for row in rows] == [("A1", "X1", Decimal(10)), ("A2", "X2", Decimal(12))]


def test_every_file_shows_some_of_its_rejects(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    for name, rows in (("many", 30), ("few", 2)):
        lines = [f"{name}{n},c{n},2025-02-30,{n}" for n in range(rows)]
        text = "\n".join(["order_id,customer_id,order_date,amount", *lines, f"ok{name},c1,2025-02-01,5\n"])
        add_source(shop, write(tmp_path, text, name=f"{name}.csv"), table="order_lines", accept=True)
    told = list_rejects(shop, limit=6)
    assert [(file["file"], file["rows"]) for file in told["files"]] == [("few.csv", 2), ("many.csv", 30)]
    shown = [(row["file"], row["row_number"]) for row in told["rejects"]]
    assert shown == [("few.csv", 2), ("few.csv", 3), *(("many.csv", n) for n in (2, 3, 4, 5))]


def test_a_consent_may_be_for_wechat(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    path = write(tmp_path, "会员编号,渠道,是否同意\n001,微信,是\n002,公众号,否\n", name="同意.csv")
    assert add_source(shop, path, table="consents", accept=True).summary["rejected"] == 0
    assert query(shop, "SELECT channel, allowed FROM consents ORDER BY customer_id") == [
        {"channel": "wechat", "allowed": True},
        {"channel": "wechat", "allowed": False},
    ]
