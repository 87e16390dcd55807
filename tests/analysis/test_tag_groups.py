"""Which rows concern a group of tags, without losing one, and which figures are worked out from other tags."""

from __future__ import annotations

from datetime import date, timedelta

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.analysis.tag import count_events, count_orders, sum_lines
from aimwell.analysis.tag_groups import Rows, compile_counts, plan_refresh
from aimwell.engine.specification import Aggregate, Condition, Measure, TagSpec, Trend, Window
from aimwell.engine.sql_text import Binder

NAMES = ("a", "b", "c")
CONDITION = st.builds(
    Condition, st.sampled_from(["name", "channel"]), st.sampled_from(["=", "!="]), st.sampled_from(NAMES)
)
ROWS = [(name, channel) for name in (*NAMES, "d", None) for channel in (*NAMES, None)]


def pick(tests: list[tuple[Condition, ...]], rows: Rows) -> tuple[set[object], set[object]]:
    """The rows that pass any of ``tests``, and those that pass what ``rows`` renders."""
    binder = Binder()
    found = []
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE events (name VARCHAR, channel VARCHAR)")
        connection.executemany("INSERT INTO events VALUES (?, ?)", ROWS)
        plain = [Rows({test}).render("events", binder) for test in tests]
        for where in ([text for texts in plain for text in texts], rows.render("events", binder)):
            clause = f" WHERE {' OR '.join(where)}" if where else ""
            used = {name: value for name, value in binder.values.items() if f"${name}" in clause}
            found.append(set(connection.execute(f"SELECT * FROM events{clause}", used).fetchall()))
    return found[0], found[1]


@given(
    st.lists(
        st.lists(CONDITION, min_size=1, max_size=2, unique=True).map(tuple),
        min_size=1,
        max_size=4,
        unique=True,
    )
)
def test_no_row_is_lost(tests: list[tuple[Condition, ...]]) -> None:
    passing, rendered = pick(tests, Rows(set(tests)))
    assert passing <= rendered
    without_value = {row for row in ROWS if None in row}
    assert rendered - passing <= without_value


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["!=a", "=b", "=c"], 1),
        (["!=a", "=a"], 0),
        (["!=a", "!=b"], 0),
        (["=a", "=b"], 2),
    ],
)
def test_what_another_test_holds_is_not_asked(written: list[str], expected: int) -> None:
    tests = {(Condition("name", "!=" if text[0] == "!" else "=", text[-1]),) for text in written}
    binder = Binder()
    rendered = Rows(tests).render("events", binder)
    assert "".join(rendered).count("name") == expected


DAY = date(2024, 3, 31)


def test_what_was_counted_before_a_window_is_the_difference_of_two_tags() -> None:
    specs: dict[str, TagSpec] = {
        "orders_30d": Measure(count_orders(30)),
        "orders_90d": Measure(count_orders(90)),
        "orders_trend": Trend(count_orders(30), count_orders(60, ending=30)),
    }
    refresh = plan_refresh(specs, DAY, DAY + timedelta(days=1))
    assert [name for group in refresh.groups for name in group.measured] == ["orders_30d", "orders_90d"]
    columns = {"orders_30d": pa.chunked_array([[4, 0, 0, 0]]), "orders_90d": pa.chunked_array([[4, 2, 0, 0]])}
    found = refresh.derived["orders_trend"].work_out(columns)
    assert found.to_pylist() == [1.0, -1.0, None, None]
    assert refresh.list_inputs({"orders_trend": specs["orders_trend"]}) == ["orders_30d", "orders_90d"]


@pytest.mark.parametrize(
    ("missing", "measured"),
    [("orders_90d", ["orders_30d", "figure 0"]), ("orders_30d", ["orders_90d", "orders_trend"])],
)
def test_without_both_windows_it_is_measured(missing: str, measured: list[str]) -> None:
    specs: dict[str, TagSpec] = {
        "orders_30d": Measure(count_orders(30)),
        "orders_90d": Measure(count_orders(90)),
        "orders_trend": Trend(count_orders(30), count_orders(60, ending=30)),
    }
    del specs[missing]
    refresh = plan_refresh(specs, DAY, DAY + timedelta(days=1))
    assert [name for group in refresh.groups for name in group.measured] == measured


def test_sums_that_are_kept_as_floats_are_not_subtracted() -> None:
    specs: dict[str, TagSpec] = {
        "revenue_30d": Measure(sum_lines("revenue", 30)),
        "revenue_90d": Measure(sum_lines("revenue", 90)),
        "revenue_trend": Trend(sum_lines("revenue", 30), sum_lines("revenue", 60, ending=30)),
    }
    refresh = plan_refresh(specs, DAY, DAY + timedelta(days=1))
    assert {"revenue_30d", "revenue_90d", "figure 0"} == {
        name for group in refresh.groups for name in group.measured
    }


def test_groups_that_are_united_measure_what_each_of_them_does() -> None:
    views = count_events("Product Viewed", 30)
    specs: dict[str, TagSpec] = {
        "days_30d": Measure(Aggregate("events", "count_distinct", "occurred_on", (), Window(30))),
        "days_90d": Measure(Aggregate("events", "count_distinct", "occurred_on", (), Window(90))),
        "trend": Trend(views, count_events("Product Viewed", 90)),
        "views_30d": Measure(views),
    }
    one, other, *_ = groups = plan_refresh(specs, DAY, DAY + timedelta(days=1)).groups
    united = one.unite(other)
    assert set(united.measured) == set(one.measured) | set(other.measured)
    assert set(united.specs) == set(one.specs) | set(other.specs)
    assert any(group.derived for group in groups)
    assert {"name", "occurred_on"} >= united.list_columns() >= one.list_columns()


@given(st.lists(st.integers(-40, 2), max_size=12), st.integers(1, 3))
def test_days_with_rows_go_on_as_if_they_were_counted_anew(days: list[int], passed: int) -> None:
    one = Aggregate("events", "count_distinct", "occurred_on", (), Window(30))
    as_of, binder = DAY + timedelta(days=passed), Binder()
    sql = compile_counts(
        {"days": one}, table="events", relation="events", before=DAY, as_of=as_of, binder=binder
    )
    seen = [DAY + timedelta(days=number) for number in days]
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE events (customer_id VARCHAR, occurred_on DATE)")
        for day in seen:
            connection.execute("INSERT INTO events VALUES ('a', ?)", [day])
        found = connection.execute(sql).fetchall()
    then, now = (len({day for day in seen if end - timedelta(days=30) <= day < end}) for end in (DAY, as_of))
    assert sum(row[1] for row in found) == now - then
