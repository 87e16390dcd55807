"""Days that stand for no date: no order and no event happens on one, and birthdays on one are told."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from aimwell.core.tables import TABLES
from aimwell.data.dates import PLACEHOLDER_DAYS
from aimwell.data.quality_time import find_strays
from aimwell.data.step import add_source, list_rejects, load_tables
from tests.data.shop import count, make_workspace, query, write
from tests.data.test_quality import add, find, write_orders

EMPTY_DAYS = [
    "1900-01-01",
    "1900/1/1",
    "1899-12-30",
    "1970-01-01",
    "1970-01-01 08:00:00",
    "1969-12-31 19:00:00",
    "0001-01-01",
    "9999-12-31",
    "1753-01-01 00:00:00",
]


@pytest.mark.parametrize(
    ("table", "head"),
    [("order_lines", "customer_id,order_id,date,amount"), ("events", "customer_id,event,time")],
)
def test_no_order_and_no_event_happens_on_a_day_that_stands_for_none(
    tmp_path: Path, table: str, head: str
) -> None:
    shop = make_workspace(tmp_path)
    rest = ",9.90" if table == "order_lines" else ""
    days = [*EMPTY_DAYS, "1970-01-02", "1997-03-01", "2025-01-01 10:00:00"]
    text = f"{head}\n" + "".join(f"c{n},x{n},{day}{rest}\n" for n, day in enumerate(days))
    summary = add_source(shop, write(tmp_path, text), table=table, source="till", accept=True).summary
    assert (summary["accepted"], summary["reasons"]) == (3, {"placeholder_date": len(EMPTY_DAYS)})
    assert summary["accepted"] + summary["rejected"] == summary["rows"]
    message = list_rejects(shop)["rejects"][0]["message"]
    assert "no date" in message["en"] and "没有日期" in message["zh"]
    (found,) = find(shop, "rejected_placeholder_date")
    assert (found["wall"], found["affected"], found["remedy"] is not None) == (
        "inaccurate",
        len(EMPTY_DAYS),
        True,
    )
    assert find(shop, "stray_days") == []


def test_consent_without_end_may_last_until_the_last_day(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    text = (
        "customer_id,channel,allowed,since,until\n1,sms,yes,1970-01-01,9999-12-31\n1,email,no,1900-01-01,\n"
    )
    # A refusal counts although nobody knows since when.
    assert add_source(shop, write(tmp_path, text), table="consents", accept=True).summary["accepted"] == 2


def test_stored_days_that_stand_for_none_are_strays_however_many_they_are() -> None:
    days = {date(2025, 1, day): 10 for day in range(1, 29)}
    assert find_strays(days | {date(1900, 1, 1): 90, date(1970, 1, 1): 3}) == {
        date(1900, 1, 1): 90,
        date(1970, 1, 1): 3,
    }
    assert find_strays({date(1970, 1, 1): 5}) == {date(1970, 1, 1): 5}


def test_birthdays_that_programs_write_are_told_with_their_column(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    born = [f"19{60 + n % 40}-0{1 + n % 9}-1{n % 10}" for n in range(400)]
    born[:44] = (
        ["1900-01-01"] * 20
        + ["1900/1/1 0:00"] * 10
        + ["1970-01-01"] * 9
        + ["01/01/1900", "", "", "", "18991230"]
    )
    text = "customer_id,name,生日,note\n" + "".join(f"{n},张{n},{day},1900\n" for n, day in enumerate(born))
    add(shop, write(tmp_path, text), "customers")
    (found,) = find(shop, "placeholder_dates")
    assert (found["column_name"], found["wall"], found["severity"]) == ("生日", "inaccurate", "warning")
    assert (found["affected"], found["total"]) == (41, 397)
    assert found["examples"] == '["1900-01-01", "1970-01-01", "1899-12-30"]'


def test_one_person_may_be_born_on_the_first_day_of_unix(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    born = [f"19{60 + n % 40}-0{1 + n % 9}-1{n % 10}" for n in range(400)] + ["1970-01-01"]
    text = "customer_id,birthday\n" + "".join(f"{n},{day}\n" for n, day in enumerate(born))
    add(shop, write(tmp_path, text), "customers")
    (told,) = find(shop, "placeholder_dates", all_rows=True)
    assert (told["severity"], told["examples"]) == ("ok", "[]")


def test_every_placeholder_is_read_in_the_forms_that_files_use(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    days = {f"day{place}": day for place, day in enumerate(PLACEHOLDER_DAYS)}
    forms = [
        lambda day: day.isoformat(),
        lambda day: day.isoformat().replace("-", ""),
        lambda day: day.isoformat().replace("-", "/"),
        lambda day: f"{day.year:04d}年{day.month}月{day.day}日",
    ]
    lines = [[form(day) for day in days.values()] for form in forms * 3]
    text = f"customer_id,{','.join(days)}\n" + "".join(
        f"{n},{','.join(line)}\n" for n, line in enumerate(lines)
    )
    add(shop, write(tmp_path, text), "customers")
    told = {row["column_name"]: (row["affected"], row["examples"]) for row in find(shop, "placeholder_dates")}
    assert told == {name: (12, f'["{day.isoformat()}"]') for name, day in days.items()}


def test_what_the_simulator_made_is_no_delivery(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    add(shop, write_orders(tmp_path, range(30)))
    before = query(shop, "SELECT source, check_name, affected, total FROM quality ORDER BY ALL")
    orders = count(shop, "order_lines")
    simulated = query(shop, "SELECT * FROM order_lines WHERE order_id < 'o.csv2' ORDER BY ALL")
    rows = [
        row
        | {
            "line_id": f"s{row['line_id']}",
            "simulated": True,
            "source": "simulated_market",
            "revenue": 0,
            "ordered_on": date(2026, 1, 1),
        }
        for row in simulated
    ]
    load_tables(
        shop, "simulated_market", {"order_lines": TABLES["order_lines"].build(rows)}, as_of=date(2026, 6, 1)
    )
    assert count(shop, "order_lines") == orders + len(rows)
    after = query(shop, "SELECT source, check_name, affected, total FROM quality ORDER BY ALL")
    assert {row["source"] for row in after} == {row["source"] for row in before}
    fixed = (
        "order_in_two_sources",
        "short_history",
        "zero_revenue",
        "never_ordered",
        "order_of_several_customers",
    )
    assert [row for row in after if row["check_name"] in fixed] == [
        row for row in before if row["check_name"] in fixed
    ]
