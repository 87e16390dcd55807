"""Traps of real deliveries: scores that cannot be, lost zeros, a city beside a region, consents that end, copies."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from aimwell.data.consent import show_consents
from aimwell.data.quality_orders import find_order_traits
from aimwell.data.scratch import Scratch
from aimwell.data.sources import open_source
from aimwell.data.step import add_source, check, list_rejects, propose
from tests.data.shop import count, make_workspace, query, write
from tests.data.test_quality import find


@pytest.mark.parametrize("head", ["会员编号,调查日期,NPS评分", "customer_id,survey_date,推荐意愿"])
def test_answers_to_nps_lie_between_0_and_10(tmp_path: Path, head: str) -> None:
    shop = make_workspace(tmp_path)
    path = write(
        tmp_path, f"{head}\n001,2026-01-02,10\n002,2026-01-02,0\n003,2026-01-02,11\n004,2026-01-02,-1\n"
    )
    found = add_source(shop, path, table="signals", accept=True).summary
    assert (found["accepted"], found["reasons"]) == (2, {"bad_recommendation": 2})
    rows = [(row["row_number"], row["column"], row["value"]) for row in list_rejects(shop)["rejects"]]
    column = head.split(",")[2]
    assert rows == [(4, column, "11"), (5, column, "-1")]


def test_other_scores_have_their_own_scale(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    path = write(tmp_path, "会员编号,调查日期,满意度\n001,2026-01-02,86\n")
    assert add_source(shop, path, table="signals", accept=True).summary["rejected"] == 0
    asked = (
        "customer_id,survey_date,question,score\n1,2026-01-02,NPS 2026,12\n1,2026-01-02,minutes waited,12\n"
    )
    found = add_source(shop, write(tmp_path, asked, name="s.csv"), table="signals", accept=True).summary
    assert found["reasons"] == {"bad_recommendation": 1}


def test_the_kind_of_a_row_may_say_that_it_answers_nps(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    path = write(
        tmp_path,
        "会员编号,类型,评分,日期\n1,NPS,10,2026-01-02\n2,NPS,11,2026-01-02\n3,满意度,86,2026-01-02\n",
    )
    found = add_source(shop, path, table="signals", accept=True).summary
    assert (found["accepted"], found["reasons"]) == (2, {"bad_recommendation": 1})


def test_lost_zeros_are_told_where_another_source_has_them(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    people = write(tmp_path, "customer_id,city\n001,a\n002,b\n010,c\nX1,d\n", name="people.csv")
    add_source(shop, people, table="customers", source="crm", accept=True)
    assert find(shop, "lost_zeros", all_rows=True) == []
    orders = "customer_id,order_id,date,amount\n1,o1,2026-01-02,3\n1,o2,2026-01-03,3\n"
    orders += "10,o3,2026-01-04,3\nX1,o4,2026-01-05,3\n"
    add_source(shop, write(tmp_path, orders), table="order_lines", source="till", accept=True)
    (told,) = find(shop, "lost_zeros")
    assert (told["source"], told["wall"], told["severity"]) == ("till", "inaccurate", "error")
    assert (told["affected"], told["total"], told["examples"]) == (2, 3, '["1 / 001"]')


def test_a_city_is_no_region_beside_one(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    for head, region in (
        ("客户编号,城市,地区", "地区"),
        ("客户编号,城市,省", "省"),
        ("客户编号,city", "city"),
    ):
        path = write(
            tmp_path, f"{head}\n1,杭州,浙江\n".replace(",浙江", ",浙江" * (head.count(",") - 1)), name="c.csv"
        )
        match = propose(shop, path, "customers").get("region")
        assert match is not None
        assert match.column == region


@pytest.mark.parametrize("header", ["有效期", "到期日", "expires", "valid_until"])
def test_a_consent_ends_with_its_last_day(tmp_path: Path, header: str) -> None:
    shop = make_workspace(tmp_path)
    path = write(
        tmp_path,
        f"客户编号,渠道,是否同意,授权时间,{header}\n"
        "1,短信,是,2025-01-01,2025-03-31\n2,短信,是,2025-01-01,\n3,短信,是,2025-01-01,9999-12-31\n",
        name="consents.csv",
    )
    assert add_source(shop, path, table="consents", accept=True).summary["rejected"] == 0
    stored = query(shop, "SELECT customer_id, until FROM consents ORDER BY 1")
    # The first of April in Shanghai: the last day of March is still whole.
    assert [row["until"] for row in stored] == [datetime(2025, 3, 31, 16, tzinfo=UTC), None, None]
    on_the_day, after = datetime(2025, 3, 31, 12, tzinfo=UTC), datetime(2025, 3, 31, 16, tzinfo=UTC)
    for at, allowed in ((on_the_day, True), (after, False)):
        (state,) = show_consents(shop, "1", at=at)["states"]
        assert state["allowed"] is allowed
    (state,) = show_consents(shop, "2", at=after)["states"]
    assert state["allowed"] is True


@pytest.mark.parametrize("ends", ["2025-03-31", "2025/3/31 12:00"])
def test_a_consent_may_say_in_words_that_it_has_no_end(tmp_path: Path, ends: str) -> None:
    shop = make_workspace(tmp_path)
    path = write(
        tmp_path,
        f"客户编号,渠道,是否同意,授权时间,有效期\n1,短信,是,2025-01-01,{ends}\n2,短信,否,2025-01-01,长期有效\n"
        "3,短信,是,2025-01-01,Forever\n4,短信,是,2025-01-01,下个月\n",
        name="consents.csv",
    )
    assert add_source(shop, path, table="consents", accept=True).summary["rejected"] == 1
    stored = query(shop, "SELECT customer_id, allowed, until FROM consents ORDER BY 1")
    day = datetime(2025, 3, 31, 4 if ":" in ends else 16, tzinfo=UTC)
    assert [(row["allowed"], row["until"]) for row in stored] == [(True, day), (False, None), (True, None)]


def test_copies_among_rejects_are_one_entry(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    line = "1,o1,2026-01-02,1,3\n"
    path = write(tmp_path, f"customer_id,order_id,date,quantity,amount\n{line * 4}2,o2,2026-02-30,1,3\n")
    add_source(shop, path, table="order_lines", accept=True, as_of=date(2026, 6, 1))
    found = list_rejects(shop)
    assert found["total"] == count(shop, "rejects") == 4
    assert [(row["row_number"], row["rows"], row["reason"]) for row in found["rejects"]] == [
        (3, 3, "duplicate_line"),
        (6, 1, "bad_date"),
    ]


def test_blank_and_cut_lines_are_told_apart_in_one_piece(tmp_path: Path) -> None:
    path = write(tmp_path, "customer_id,b,date\r\n1,2,3\r\n\r\n \r\n3,4\r\n3,4,5\r\n3,4,5,6\r\n\r\n7,8,9")
    with Scratch() as scratch:
        source = open_source(scratch, path)
        rows = scratch.rows("SELECT row_number, c0, c2 FROM raw ORDER BY 1")
        faults = scratch.rows("SELECT * FROM faults ORDER BY 1")
    assert (source.rows, source.blank, source.broken) == (5, 3, 2)
    assert [(row["row_number"], row["c0"], row["c2"]) for row in rows] == [
        (2, "1", "3"),
        (6, "3", "5"),
        (9, "7", "9"),
    ]
    assert [(row["row_number"], row["reason"], row["text"]) for row in faults] == [
        (5, "too_few_columns", "3,4"),
        (7, "too_many_columns", "3,4,5,6"),
    ]


@pytest.mark.parametrize("singles", [0, 400])
def test_orders_are_judged_alike_whether_few_or_most_have_several_lines(tmp_path: Path, singles: int) -> None:
    shop = make_workspace(tmp_path)
    lines = ["customer_id,order_id,product_id,date,quantity,amount"]
    lines += ["1,shared,p,2026-01-02 10:15:00,1,3", "2,shared,q,2026-01-02 10:15:00,1,3"]
    lines += ["1,spread,p,2026-01-02 10:00:00,1,3", "1,spread,q,2026-01-03 10:00:00,1,3"]
    lines += [f"3,{order},p{n},2026-01-02,1,{n}" for order in ("A", "B") for n in range(4)]
    lines += [f"{n},s{n},p,2026-01-02 11:0{n % 9}:00,1,3" for n in range(singles)]
    add_source(
        shop,
        write(tmp_path, "\n".join(lines) + "\n"),
        table="order_lines",
        accept=True,
        as_of=date(2026, 6, 1),
    )
    with shop.run("data", as_of=date(2026, 6, 1)) as run:
        traits = {finding.check: finding for finding in find_order_traits(run)}
    assert (traits["order_of_several_customers"].affected, traits["order_of_several_customers"].total) == (
        1,
        4 + singles,
    )
    assert traits["order_of_several_customers"].examples == ("shared",)
    assert (traits["order_on_several_days"].affected, traits["order_on_several_days"].examples) == (
        1,
        ("spread",),
    )
    assert (traits["copied_baskets"].affected, traits["copied_baskets"].total) == (1, 2)
    assert traits["round_times"].total == 4 + singles
    assert (traits["order_in_two_sources"].affected, traits["order_in_two_sources"].total) == (0, 4 + singles)


def test_one_order_in_two_sources_is_counted_once(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    text = "customer_id,order_id,date,amount\n" + "".join(f"{n},o{n},2026-01-02,3\n" for n in range(20))
    add_source(shop, write(tmp_path, text, name="a.csv"), table="order_lines", accept=True)
    add_source(shop, write(tmp_path, text, name="b.csv"), table="order_lines", accept=True)
    (told,) = find(shop, "order_in_two_sources")
    assert (told["affected"], told["total"]) == (20, 20)
    check(shop)
    assert len(find(shop, "order_in_two_sources")) == 1


def test_an_order_line_is_named_by_its_order(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    path = write(
        tmp_path, "customer_id,order_id,date,quantity,amount\n1,A7,2026-01-02,0,3\n1,A8,2026-01-02,1,3\n"
    )
    add_source(shop, path, table="order_lines", accept=True, as_of=date(2026, 6, 1))
    (row,) = query(shop, "SELECT examples FROM quality WHERE check_name = 'zero_quantity'")
    assert row["examples"] == '["A7"]'


def test_people_with_a_name_and_a_date_are_no_events(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    people = "customer_id,name,birthday,signup_date,gender\nc1,Li,1990-03-04,2024-01-05,F\n"
    people += "c2,Wang,1985-07-01,2024-02-06,M\nc3,Zhao,1979-11-30,2024-03-07,F\n"
    assert propose(shop, write(tmp_path, people)).table == "customers"
    events = "customer_id,name,time\nc1,viewed,2024-01-05 10:00\nc2,viewed,2024-01-05\nc3,bought,2024-01-06\n"
    assert propose(shop, write(tmp_path, events)).table == "events"
    few = "customer_id,event,occurred_at\nc1,viewed,2024-01-05 10:00\nc2,bought,2024-01-06 11:00\n"
    assert propose(shop, write(tmp_path, few)).table == "events"


def test_a_customer_number_in_full_width_signs_is_the_same_customer(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    people = "会员编号,姓名,城市\n10003,甲,上海\n１０００４,乙,北京\n　Ｖ－７　,丙,广州\na²,丁,成都\n"
    add_source(shop, write(tmp_path, people, name="people.csv"), table="customers", accept=True)
    orders = (
        "会员编号,订单号,日期,金额\n１０００３,o1,2026-01-02,3\n10004,o2,2026-01-03,3\nV-7,o3,2026-01-04,3\n"
    )
    orders += "－,o4,2026-01-05,3\nＮＵＬＬ,o5,2026-01-05,3\n"
    found = add_source(shop, write(tmp_path, orders), table="order_lines", accept=True).summary
    assert (found["accepted"], found["reasons"]) == (3, {"no_customer": 2})
    numbers = [row["customer_id"] for row in query(shop, "SELECT customer_id FROM customers ORDER BY 1")]
    assert numbers == ["10003", "10004", "V-7", "a²"]
    bought = query(shop, "SELECT customer_id FROM order_lines ORDER BY order_id")
    assert [row["customer_id"] for row in bought] == ["10003", "10004", "V-7"]
    # Whoever repairs them sees what was delivered.
    kept = query(shop, "SELECT record FROM rejects ORDER BY row_number")
    assert [json.loads(str(row["record"]))["会员编号"] for row in kept] == ["－", "ＮＵＬＬ"]


def test_two_spellings_of_a_number_in_one_list_are_one_customer(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    path = write(tmp_path, "会员编号,城市\n10003,上海\n１０００３,北京\n")
    found = add_source(shop, path, table="customers", accept=True).summary
    assert (found["accepted"], found["reasons"]) == (1, {"duplicate_key": 1})
    kept = query(shop, "SELECT customer_id FROM customers")
    assert [row["customer_id"] for row in kept] == ["10003"]
