from __future__ import annotations

import csv
import tempfile
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from aimwell.core.errors import BadInput, ContractBroken
from aimwell.data.step import add_source, check, list_rejects, load_tables, propose, write_rejected
from tests.data.shop import count, make_workspace, query, write

CHINESE = """会员编号,下单时间,商品名称,数量,金额
001,2026年1月2日 09:30,鲜牛奶,2,"￥1,234.50"
001,2026/1/3 18:05:10,面包,1,１２.５元
002,2026-02-30,面包,1,5.00
,2026-01-05,面包,1,5.00
003,2026-01-06 10:00,面包,-1,-5.00
003,2026-01-06 10:00,面包,-1,-5.00
004,2026-01-07 10:00,面包,三,5.00
005,2999-01-07 10:00,面包,1,5.00
006,2026-01-07 10:00,面包
"""
AS_OF = date(2026, 11, 1)


def test_a_chinese_order_file_end_to_end(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    result = add_source(
        shop, write(tmp_path, CHINESE, encoding="gb18030"), table="order_lines", accept=True, as_of=AS_OF
    )
    assert result.summary["rows"] == 9 == result.summary["accepted"] + result.summary["rejected"]
    assert result.summary["reasons"] == {
        "bad_date": 1,
        "no_customer": 1,
        "duplicate_line": 1,
        "bad_number": 1,
        "from_future": 1,
        "too_few_columns": 1,
    }
    lines = query(shop, "SELECT * FROM order_lines ORDER BY ordered_at, line_id")
    assert [line["customer_id"] for line in lines] == ["001", "001", "003"]
    assert lines[0]["revenue"] == Decimal("1234.50")
    assert lines[1]["revenue"] == Decimal("12.50")
    assert lines[0]["ordered_at"] == datetime(2026, 1, 2, 9, 30, tzinfo=ZoneInfo("Asia/Shanghai"))
    assert (lines[0]["ordered_on"], lines[0]["ordered_hour"]) == (date(2026, 1, 2), 9)
    assert lines[0]["order_id"] == "001@2026-01-02T09:30:00"
    assert [row["customer_id"] for row in query(shop, "SELECT customer_id FROM customers ORDER BY 1")] == [
        "001",
        "003",
    ]
    assert count(shop, "products") == 2


def test_loading_twice_is_loading_once(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    path = write(tmp_path, CHINESE)
    tables = ("order_lines", "customers", "products", "rejects", "sources", "quality")
    first = add_source(shop, path, table="order_lines", accept=True, as_of=AS_OF)
    before = [count(shop, table) for table in tables]
    second = add_source(shop, path, table="order_lines", accept=True, as_of=AS_OF)
    assert [count(shop, table) for table in tables] == before
    assert first.summary["added"]["order_lines"] == 3
    assert second.summary["added"]["order_lines"] == 0


def test_rejects_are_repaired_and_come_back(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    add_source(shop, write(tmp_path, CHINESE), table="order_lines", accept=True, as_of=AS_OF)
    out = tmp_path / "rejects.csv"
    assert write_rejected(shop, out) == 6
    with out.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0])[:5] == ["会员编号", "下单时间", "商品名称", "数量", "金额"]
    for row in rows:
        if row["下单时间"] == "2026-02-30":
            row["下单时间"] = "2026-02-28"
    with out.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    result = add_source(shop, out, table="order_lines", accept=True, as_of=AS_OF)
    assert result.summary["source"] == "orders"
    # Three rows and the repaired one; the copy's twin is there already.
    assert count(shop, "order_lines") == 4
    assert list_rejects(shop)["reasons"].get("bad_date") is None


def test_rejects_are_no_formulas_and_come_back_as_they_were(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    names = ["=HYPERLINK(1)", "'=1", "  @SUM(A1)", "-3", "＝1+1", "'tis", "+86 138 0013 8000"]
    lines = "\n".join(f'{number},2026-02-30,"{name}",1,x' for number, name in enumerate(names))
    path = write(tmp_path, f"customer_id,order_date,product,amount,=1+1\n9,2026-01-01,milk,1,x\n{lines}\n")
    answers: dict[str, Any] = {"table": "order_lines", "accept": True, "as_of": AS_OF}
    add_source(shop, path, **answers)
    out = tmp_path / "rejects.csv"
    assert write_rejected(shop, out) == len(names)
    with out.open(encoding="utf-8-sig", newline="") as stream:
        header, *rows = list(csv.reader(stream))
    assert header[4] == "'=1+1"
    assert {row[2] for row in rows} == {
        "'=HYPERLINK(1)", "''=1", "'  @SUM(A1)", "-3", "'＝1+1", "'tis", "+86 138 0013 8000"
    }  # fmt: skip
    out.write_text(out.read_text(encoding="utf-8-sig").replace("2026-02-30", "2026-02-28"), encoding="utf-8")
    result = add_source(shop, out, **answers)
    assert (result.summary["accepted"], count(shop, "rejects")) == (len(names), 0)
    found = query(shop, "SELECT DISTINCT product_id FROM order_lines")
    assert {row["product_id"] for row in found} == {"milk", *(name.strip() for name in names)}


@settings(max_examples=8, phases=[Phase.generate])  # an example takes a second: shrinking would take minutes
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["1", "2", "", "null"]),
            st.sampled_from(["2026-01-02", "2026/1/3", "2026-13-01", "soon", ""]),
            st.sampled_from(["1", "-2", "x", "", "1,000"]),
            st.sampled_from(["5.00", "￥7", "-", "1e2"]),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_no_row_is_lost(rows: list[tuple[str, str, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shop = make_workspace(folder)
        text = "\n".join([f'{a},{b},"{c}",{d}' for a, b, c, d in rows])
        path = write(folder, f"customer_id,order_date,qty,amount\n9,2026-01-01,1,1\n{text}\n")
        result = add_source(shop, path, table="order_lines", accept=True, as_of=AS_OF)
        assert result.summary["rows"] == len(rows) + 1
        assert count(shop, "order_lines") == result.summary["accepted"]
        assert count(shop, "rejects") == result.summary["rejected"]
        shop.close()


def test_identical_lines_without_quantity_are_units(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    path = write(tmp_path, "Member_number,Date,itemDescription\n1,21-07-2015,milk\n1,21-07-2015,milk\n")
    result = add_source(shop, path, table="order_lines", accept=True)
    assert count(shop, "order_lines") == 2
    assert {row["order_id"] for row in query(shop, "SELECT order_id FROM order_lines")} == {"1@2015-07-21"}
    notices = " ".join(notice["en"] for notice in result.summary["notices"])
    assert "put the day first" in notices
    assert "no order number" in notices
    assert any("No amounts" in text.render("en") for text in result.lacks)


def test_duplicates_can_be_kept(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    path = write(tmp_path, "customer_id,date,qty,price\n1,2026-01-02,2,1.25\n1,2026-01-02,2,1.25\n")
    add_source(shop, path, table="order_lines", accept=True, duplicates="keep")
    assert [row["revenue"] for row in query(shop, "SELECT revenue FROM order_lines")] == [Decimal("2.50")] * 2


def test_dates_that_can_be_read_in_two_ways(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    path = write(tmp_path, "customer_id,date,amount\n1,3/4/2025,5\n")
    with pytest.raises(BadInput) as caught:
        add_source(shop, path, table="order_lines", accept=True)
    assert caught.value.code == "data.ambiguous_dates"
    add_source(shop, path, table="order_lines", accept=True, dates="day-first")
    assert query(shop, "SELECT ordered_on FROM order_lines")[0]["ordered_on"] == date(2025, 4, 3)


def test_missing_and_ambiguous_columns_name_the_remedy(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    with pytest.raises(BadInput, match="--map customer_id=") as missing:
        propose(shop, write(tmp_path, "who,date\na,2026-01-02\n"), "order_lines")
    assert missing.value.code == "data.missing_column"
    twice = write(tmp_path, "customer_id,user_id,date\na,b,2026-01-02\n")
    with pytest.raises(BadInput, match="user_id") as ambiguous:
        propose(shop, twice, "order_lines")
    assert ambiguous.value.code == "data.ambiguous_column"
    settled = propose(shop, twice, "order_lines", mapping={"customer_id": "user_id"})
    match = settled.get("customer_id")
    assert match is not None and match.column == "user_id"


def test_nothing_is_taken_in_before_the_mapping_is_accepted(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    result = add_source(shop, write(tmp_path, CHINESE), table="order_lines")
    assert result.status == "skipped"
    assert count(shop, "order_lines") == 0
    fields = {match["field"]: match["column"] for match in result.summary["proposal"]["matches"]}
    assert fields == {
        "customer_id": "会员编号",
        "ordered_at": "下单时间",
        "product_name": "商品名称",
        "quantity": "数量",
        "revenue": "金额",
    }


def test_customers_events_products_and_consents(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    people = write(tmp_path, "customerID,邮箱,gender\n1,a@b.cn,F\n2,bad,M\n1,c@d.cn,F\n", name="people.csv")
    assert add_source(shop, people, table="customers", accept=True).summary["reasons"] == {"duplicate_key": 1}
    add_source(
        shop,
        write(tmp_path, "customerID,city\n2,Köln\n3,Rom\n", name="more.csv"),
        table="customers",
        accept=True,
    )
    assert query(shop, "SELECT customer_id, email, region, gender FROM customers ORDER BY 1") == [
        {"customer_id": "1", "email": "a@b.cn", "region": None, "gender": "F"},
        {"customer_id": "2", "email": "bad", "region": "Köln", "gender": "M"},
        {"customer_id": "3", "email": None, "region": "Rom", "gender": None},
    ]
    goods = write(tmp_path, "sku,name,price,cost,stock\nA,Milk,2.50,1.00,7\n", name="goods.csv")
    add_source(shop, goods, table="products", accept=True)
    assert query(shop, "SELECT price, stock FROM products") == [{"price": Decimal("2.50"), "stock": 7}]
    clicks = write(tmp_path, "user_id,behavior,timestamp,page\n1,pv,1511544070,home\n", name="clicks.csv")
    add_source(shop, clicks, table="events", accept=True)
    event = query(shop, "SELECT occurred_on, properties FROM events")[0]
    assert event == {"occurred_on": date(2017, 11, 25), "properties": '{"page":"home"}'}
    consents = write(
        tmp_path, "客户编号,渠道,是否同意\n1,短信,否\n1,email,yes\n2,fax,yes\n", name="consents.csv"
    )
    for _ in range(2):
        assert add_source(shop, consents, table="consents", accept=True).summary["reasons"] == {
            "unknown_channel": 1
        }
    assert query(shop, "SELECT channel, allowed FROM consents ORDER BY 1") == [
        {"channel": "email", "allowed": True},
        {"channel": "sms", "allowed": False},
    ]


@pytest.mark.parametrize("first", ["yes", "no"])
def test_of_two_answers_at_one_instant_the_refusal_counts(tmp_path: Path, first: str) -> None:
    shop = make_workspace(tmp_path)
    other = "no" if first == "yes" else "yes"
    for answer in (first, other, first, other):
        text = f"customer_id,channel,consent,date\n1,email,{answer},2025-03-01\n"
        add_source(shop, write(tmp_path, text, name=f"{answer}.csv"), table="consents", accept=True)
    rows = query(shop, "SELECT allowed FROM consents ORDER BY since")
    assert [row["allowed"] for row in rows] == ([True, False] if first == "yes" else [False])


def test_rows_beyond_until_wait(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    path = write(tmp_path, "customer_id,date,amount\n1,2025-01-02,5\n1,2025-01-03,5\n")
    first = add_source(shop, path, table="order_lines", accept=True, until=date(2025, 1, 3))
    assert (first.summary["rows"], first.summary["later"]) == (1, 1)
    add_source(shop, path, table="order_lines", accept=True)
    assert count(shop, "order_lines") == 2


def test_typed_deliveries_come_through_the_same_door(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    lines = pa.table(
        {
            "line_id": ["a", "a"],
            "order_id": ["1", "1"],
            "customer_id": ["7", "7"],
            "ordered_at": pa.array(
                [datetime(2026, 1, 2), datetime(2026, 1, 2)], pa.timestamp("us", tz="UTC")
            ),
            "ordered_on": [date(2026, 1, 2)] * 2,
            "revenue": pa.array([Decimal("1.00")] * 2, pa.decimal128(18, 2)),
        }
    )
    for added in (1, 0):
        result = load_tables(shop, "till", {"order_lines": lines}, as_of=AS_OF)
        assert result.summary["tables"]["order_lines"]["added"] == added
    with pytest.raises(BadInput, match="2026-01-02"):
        load_tables(shop, "till", {"order_lines": lines}, as_of=date(2026, 1, 2))
    with pytest.raises(ContractBroken):
        load_tables(shop, "till", {"order_lines": lines.drop_columns(["order_id"])}, as_of=AS_OF)


def test_the_walls_are_scored_and_every_finding_speaks_both_languages(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    add_source(shop, write(tmp_path, CHINESE), table="order_lines", accept=True, as_of=AS_OF)
    result = check(shop, AS_OF)
    summary = result.summary
    assert set(summary["walls"]) == {"unavailable", "partial", "inaccurate", "unusable"}
    assert all(0 <= wall["score"] <= 1 for wall in summary["walls"].values())
    assert len({finding["check"] for finding in summary["quality"]}) >= 15
    found = {finding["check"]: finding for finding in summary["quality"]}
    assert found["returns"]["affected"] == 1
    assert found["no_consent"]["severity"] == "warning"
    assert found["rejected_no_customer"]["wall"] == "unusable"
    for finding in summary["quality"]:
        assert finding["finding"]["en"] != finding["finding"]["zh"]
        assert "{" not in finding["finding"]["zh"]
    assert summary["period"] == {"start": "2026-01-02", "end": "2026-01-06"}
    assert summary["sources"][0]["rows"] == 9
