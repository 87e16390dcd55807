"""Tags that people define: by form, SQL and model; what is refused; history; the page of one tag."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from aimwell.analysis import own_tags
from aimwell.analysis.own_tags import remove_tag, save_tag
from aimwell.analysis.tag_page import show_tag
from aimwell.analysis.tags import ComputedTags, compute_tags
from aimwell.core.errors import AimwellError, BadInput, NotReady
from aimwell.core.tables import TABLES
from aimwell.engine.workspace import Workspace
from tests.analysis.shop import AS_OF, days_ago, load_shop, make_workspace

VIEWS = {
    "measure": {
        "table": "events",
        "function": "count",
        "conditions": [["name", "=", "Product Viewed"]],
        "window": {"days": 30},
    }
}


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    made = make_workspace(tmp_path)
    load_shop(made)
    yield made
    made.close()


def save(workspace: Workspace, name: str, **body: Any) -> int:
    with workspace.read() as reader:
        return save_tag(reader, workspace.store, name, body)


def compute(workspace: Workspace, as_of: date = AS_OF) -> tuple[ComputedTags, dict[str, dict[str, Any]]]:
    with workspace.run("analysis", as_of=as_of) as run:
        computed = compute_tags(workspace, run)
    with workspace.read() as reader:
        rows = reader.query("SELECT * FROM tags ORDER BY customer_id").to_pylist()
    return computed, {row["customer_id"]: row for row in rows}


def refuse(workspace: Workspace, name: str, **body: Any) -> AimwellError:
    with pytest.raises(AimwellError) as caught:
        save(workspace, name, **body)
    return caught.value


def test_three_ways_to_define_a_tag(workspace: Workspace) -> None:
    with workspace.run("models", as_of=AS_OF) as run:
        rows = [("ann", 0.9), ("ben", 0.1)]
        run.replace(
            "scores",
            TABLES["scores"].build(
                [
                    {"customer_id": name, "model": "m", "score": score, "as_of": AS_OF, "run_id": run.id}
                    for name, score in rows
                ]
            ),
        )
    assert save(workspace, "views_mine", form=VIEWS, title="Views {mine}") == 1
    save(workspace, "views_doubled", form={"expression": {"sql": "views_mine * 2 + rfm_r", "type": "real"}})
    save(
        workspace,
        "big_spend",
        sql="SELECT customer_id, SUM(revenue) > 7 AS x FROM order_lines GROUP BY customer_id",
    )
    save(workspace, "m_class", model="m", thresholds=[0.5], classes=["low", "high"])
    computed, rows = compute(workspace)
    assert computed.troubles == ()
    own = ("views_mine", "views_doubled", "big_spend", "m_class")
    assert [rows["ann"][name] for name in own] == [1, 6.0, True, "high"]
    assert [rows["ben"][name] for name in own] == [0, 2.0, False, "low"]
    assert [rows["cid"][name] for name in own] == [0, None, None, None]
    titles = {tag.name: tag.title.render("en") for tag in computed.tags}
    assert titles["views_mine"] == "Views {mine}"


def test_what_is_no_number_is_empty(workspace: Workspace) -> None:
    save(workspace, "per_view", form={"expression": {"sql": "revenue_365d / events_30d", "type": "real"}})
    values = "CASE customer_id WHEN 'ann' THEN 'nan' WHEN 'ben' THEN 'inf' ELSE '0.5' END"
    save(workspace, "odd", sql=f"SELECT customer_id, CAST({values} AS DOUBLE) AS x FROM customers")
    computed, rows = compute(workspace)
    assert computed.troubles == ()
    assert [rows[name]["odd"] for name in ("ann", "ben", "cid")] == [None, None, 0.5]
    # Ben did nothing in these 30 days.
    assert (rows["ann"]["per_view"] > 0, rows["ben"]["per_view"]) == (True, None)


def test_versions_are_kept_and_what_others_need_is_not_removed(workspace: Workspace) -> None:
    save(workspace, "views_mine", form=VIEWS)
    assert save(workspace, "views_mine", form=VIEWS) == 1
    assert save(workspace, "views_mine", form={"days_since": {"table": "events"}}) == 2
    save(workspace, "more_of_it", form={"expression": {"sql": "views_mine + 1", "type": "integer"}})
    with pytest.raises(BadInput) as caught:
        remove_tag(workspace.store, "views_mine")
    assert caught.value.code == "analysis.tag_in_use"
    remove_tag(workspace.store, "more_of_it")
    remove_tag(workspace.store, "views_mine")
    _, rows = compute(workspace)
    assert "views_mine" not in rows["ann"]
    with pytest.raises(BadInput) as unknown:
        remove_tag(workspace.store, "views_mine")
    assert unknown.value.code == "analysis.no_own_tag"
    with pytest.raises(BadInput) as built_in:
        remove_tag(workspace.store, "recency_days")
    assert built_in.value.code == "analysis.tag_built_in"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"form": {"measure": {"table": "event", "function": "count"}}}, "engine.unknown_source"),
        (
            {"form": {"measure": {"table": "events", "function": "sum", "column": "nam"}}},
            "engine.unknown_column",
        ),
        (
            {"form": {"measure": {"table": "events", "function": "sum", "column": "name"}}},
            "engine.wrong_type",
        ),
        ({"form": {"expression": {"sql": "recency_day + 1", "type": "real"}}}, "engine.unknown_tag"),
        ({"form": {"expression": {"sql": "mine + 1", "type": "real"}}}, "engine.circular_tags"),
        ({"form": {"nothing": 1}}, "engine.bad_specification"),
        ({"form": VIEWS, "model": "m"}, "analysis.tag_needs_one_way"),
        ({"model": "none"}, "analysis.unknown_model"),
        ({"sql": "SELECT customer_id FROM customers"}, "analysis.tag_sql_columns"),
        ({"sql": "SELECT customer_id, product_id FROM order_lines"}, "analysis.tag_sql_repeats"),
        ({"sql": "SELECT customer_id, nowhere FROM customers"}, "analysis.tag_sql_fails"),
        (
            {"sql": "SELECT customer_id, CAST('2024-01-01' AS TIMESTAMP) AS x FROM customers"},
            "analysis.tag_sql_type",
        ),
        ({"sql": "SELECT * FROM read_text('/etc/passwd')"}, "engine.sql_table_function"),
    ],
)
def test_a_bad_definition_is_refused(workspace: Workspace, body: dict[str, Any], code: str) -> None:
    error = refuse(workspace, "mine", **body)
    assert error.code == code
    assert error.remedy is not None


def test_a_circle_through_another_tag_is_refused(workspace: Workspace) -> None:
    save(workspace, "first_one", form={"expression": {"sql": "recency_days", "type": "real"}})
    save(workspace, "second_one", form={"expression": {"sql": "first_one + 1", "type": "real"}})
    error = refuse(workspace, "first_one", form={"expression": {"sql": "second_one + 1", "type": "real"}})
    assert error.code == "engine.circular_tags"


@pytest.mark.parametrize("name", ["recency_days", "Bad", "attribute_x", "customer_id", "x" * 70])
def test_a_name_that_is_taken_or_odd_is_refused(workspace: Workspace, name: str) -> None:
    assert refuse(workspace, name, form=VIEWS).code == "analysis.bad_tag_name"


def test_a_query_that_would_not_end_is_stopped(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_tags, "SECONDS", 0.5)
    wide = ", ".join(f"order_lines AS t{number}" for number in range(24))
    sql = f"SELECT t0.customer_id, SUM(t1.revenue * t2.revenue) AS x FROM {wide} GROUP BY t0.customer_id"
    with pytest.raises(NotReady) as caught:
        save(workspace, "bomb", sql=sql)
    assert caught.value.code in ("engine.query_too_slow", "engine.query_too_large")
    save(workspace, "fine", sql="SELECT customer_id, COUNT(*) AS n FROM order_lines GROUP BY customer_id")


def test_history_has_a_row_when_a_value_changes(workspace: Workspace) -> None:
    def read() -> list[tuple[Any, ...]]:
        with workspace.read() as reader:
            sql = (
                "SELECT customer_id, value, since FROM tag_history"
                " WHERE tag = 'lifecycle_stage' ORDER BY since, customer_id"
            )
            return [tuple(row.values()) for row in reader.query(sql).to_pylist()]

    compute(workspace, days_ago(-1))
    first = read()
    assert [row[:2] for row in first] == [("ann", "active"), ("ben", "active"), ("cid", "prospect")]
    compute(workspace, days_ago(-2))
    assert read() == first
    _, rows = compute(workspace, days_ago(-250))
    changed = [row for row in read() if row[2] == days_ago(-250)]
    assert changed
    assert all(rows[name]["lifecycle_stage"] == value for name, value, _ in changed)
    kept = read()
    compute(workspace, days_ago(-250))
    assert read() == kept


def test_the_page_of_a_tag(workspace: Workspace) -> None:
    save(workspace, "views_mine", form=VIEWS)
    compute(workspace)
    with workspace.read() as reader:
        page = show_tag(reader, workspace.store, "views_mine")
        overdue = show_tag(reader, workspace.store, "overdue_ratio")
        store = show_tag(reader, workspace.store, "last_store")
        with pytest.raises(BadInput):
            show_tag(reader, workspace.store, "overdue_rati")
    assert page["coverage"] == 1.0
    assert page["lineage"] == ["events.name", "events.occurred_on"]
    assert (page["as_of"], page["newest_row"]) == (AS_OF.isoformat(), AS_OF.isoformat())
    assert [row["version"] for row in page["versions"]] == [1]
    assert page["definition"]["en"] == "number of: events (name = Product Viewed), the last 30 days"
    assert "order_lines.ordered_on" in overdue["lineage"]
    assert store["lineage"] == ["order_lines.ordered_at", "order_lines.ordered_on", "order_lines.store_id"]
    assert overdue["distribution"]["bins"]
