"""Which rows concern a group of tags: simplifying the question must not lose one."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.analysis.tag_groups import Rows
from aimwell.engine.specification import Condition
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
