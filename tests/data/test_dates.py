from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import pytest

from aimwell.core.errors import BadInput
from aimwell.data.expressions import find_fixed, locate_instant, parse_instant
from aimwell.data.scratch import Scratch
from aimwell.data.step import add_source
from tests.data.shop import make_workspace, query, write

MIXED = "customer_id,date,amount\n1,25/12/2024,5\n2,12/26/2024,5\n3,03/04/2025,5\n"


def test_a_column_that_mixes_both_orders_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        add_source(make_workspace(tmp_path), write(tmp_path, MIXED), table="order_lines", accept=True)
    assert caught.value.code == "data.mixed_dates"
    assert "25/12/2024" in caught.value.render("en") and "12/26/2024" in caught.value.render("en")
    assert "--dates" in caught.value.render("zh")


def test_with_the_order_said_the_other_rows_are_set_aside(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    path = write(tmp_path, MIXED)
    result = add_source(shop, path, table="order_lines", accept=True, dates="day-first")
    assert (result.summary["accepted"], result.summary["rejected"]) == (2, 1)
    days = [
        row["ordered_on"] for row in query(shop, "SELECT ordered_on FROM order_lines ORDER BY ordered_on")
    ]
    assert days == [date(2024, 12, 25), date(2025, 4, 3)]


@pytest.mark.parametrize("text", ["5/16/2026", "16/5/2026", "5/16/26", "2026/5/16", "2026-5-16", "5-16-2026"])
def test_a_short_day_or_month_is_no_year(tmp_path: Path, text: str) -> None:
    with Scratch() as scratch:
        found = scratch.rows(
            f"SELECT {parse_instant('text', day_first=text.startswith('16'))} AS at FROM (SELECT $text AS text)",
            {"text": text},
        )
    assert found[0]["at"] == datetime(2026, 5, 16)


@pytest.mark.parametrize(
    ("name", "since"),
    [("Asia/Shanghai", 1993), ("UTC", 1962), ("America/New_York", None), ("Asia/Kathmandu", 1987)],
)
def test_an_instant_is_located_alike_by_subtraction_and_by_the_zone(name: str, since: int | None) -> None:
    fixed = find_fixed(name)
    assert (fixed[0] if fixed else None) == since
    with Scratch() as scratch:
        found = scratch.rows(
            f"""
            WITH clocks AS (
                SELECT TIMESTAMP '1962-01-01 00:30:00' + to_hours(CAST(range * 1009 AS BIGINT)) AS clock
                FROM range(700)
            )
            SELECT count(*) AS rows, count(DISTINCT extract(year FROM clock)) AS years,
                sum(CASE WHEN {locate_instant("clock", name)} IS DISTINCT FROM timezone($zone, clock) THEN 1 ELSE 0 END)
                    AS wrong
            FROM clocks
            """,
            {"zone": name},
        )[0]
    assert (found["rows"], found["wrong"]) == (700, 0)
    assert found["years"] > 75
