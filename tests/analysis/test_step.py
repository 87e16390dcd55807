"""The step as a whole: what it writes, its summary, and little or no data."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from aimwell.analysis.catalogue import CATALOGUE
from aimwell.analysis.rule_text import parse_rule
from aimwell.analysis.segments import BUILT_IN, save_segment
from aimwell.analysis.step import describe
from aimwell.core.errors import BadInput
from aimwell.core.text import Text
from aimwell.engine.rule_json import rule_from_json
from tests.analysis.shop import AS_OF, build_customers, buy, days_ago, load, load_shop, make_workspace
from tests.engine.scratch import build_lines


def test_nothing_to_describe_is_skipped_with_the_remedy(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    result = describe(workspace, as_of=AS_OF)
    assert (result.status, result.summary) == ("skipped", {})
    assert "aimwell data add" in result.lacks[0].render("zh")


def test_without_any_order_nobody_has_a_stage_and_it_is_said(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    load(workspace, customers=build_customers())
    result = describe(workspace, as_of=AS_OF)
    assert result.status == "partial"
    stages = {row["stage"]: row["customers"] for row in result.summary["lifecycle"]}
    assert stages == dict.fromkeys(stages, 0)
    assert any("there are no orders" in text.render("en") for text in result.lacks)


def test_the_summary_holds_what_the_report_draws(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    load_shop(workspace)
    save_segment(workspace.store, "food_only", parse_rule("departments_90d = 1"), title="只买食品")
    result = describe(workspace, as_of=AS_OF)
    summary = json.loads(json.dumps(result.summary))
    assert (summary["as_of"], summary["customers"]) == (AS_OF.isoformat(), 3)
    assert summary["tags"]["count"] == len(CATALOGUE) + 2
    coverage = {row["name"]: row["coverage"] for row in summary["tags"]["catalogue"]}
    assert coverage["recency_days"] == pytest.approx(2 / 3, abs=1e-4)
    assert coverage["attribute_region"] == pytest.approx(1 / 3, abs=1e-4)
    sizes = {row["name"]: row["size"] for row in summary["segments"]}
    assert len(sizes) == len(BUILT_IN) + 1
    assert (sizes["best_customers"], sizes["food_only"], sizes["prospects"]) == (1, 1, 1)
    assert summary["segments"][-1]["rule_text"] == {
        "en": "Departments in 90 days is 1",
        "zh": "近 90 天购买部门数为 1",
    }
    assert summary["rfm"]["cells"] == [
        {"r": 2, "f": 2, "customers": 1, "revenue": 6.0},
        {"r": 4, "f": 4, "customers": 1, "revenue": 38.0},
    ]
    stages = {row["stage"]: (row["customers"], row["revenue"]) for row in summary["lifecycle"]}
    assert stages["active"] == (2, 44.0)
    assert sum(customers for customers, _ in stages.values()) == 3
    assert summary["value"]["top20_revenue_share"] == pytest.approx(38 / 44, abs=1e-4)
    drawn = {row["name"]: row for row in summary["distributions"]}
    assert sum(one["customers"] for one in drawn["recency_days"]["bins"]) == drawn["recency_days"]["n"] == 2
    assert drawn["favourite_department"]["values"] == [{"value": "FOOD", "customers": 2}]


def test_the_tables_carry_rules_sql_and_entry_days(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    load_shop(workspace)
    describe(workspace, as_of=days_ago(30))
    describe(workspace, as_of=AS_OF)
    with workspace.read() as reader:
        segments = {row["segment"]: row for row in reader.query("SELECT * FROM segments").to_pylist()}
        members = reader.query("SELECT * FROM segment_members").to_pylist()
        for segment in BUILT_IN:
            row = segments[segment.name]
            assert rule_from_json(json.loads(row["rule"])) == segment.rule
            assert Text.from_json(row["title"]) == segment.title
            flagged = reader.query(
                f'SELECT SUM(CASE WHEN "member" THEN 1 ELSE 0 END) AS n FROM ({row["sql"]}) AS ran'
            )
            assert int(flagged.column("n")[0].as_py()) == row["size"]
    spells = {(row["segment"], row["customer_id"]): (row["entered_on"], row["left_on"]) for row in members}
    assert spells["one_time_buyers", "ben"] == (days_ago(30), None)
    assert spells["one_time_buyers", "ann"] == (days_ago(30), AS_OF)
    assert spells["best_customers", "ann"] == (days_ago(30), None)


def test_an_audience_of_three_is_described(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    lines = [buy(f"c{number}", f"o{number}", 400 + number, None, "5.00") for number in range(3)]
    load(workspace, order_lines=build_lines(*lines))
    result = describe(workspace, as_of=AS_OF)
    assert result.summary["customers"] == 3
    assert result.summary["value"] == {"top20_revenue_share": None, "curve": []}
    assert {row["revenue_share"] for row in result.summary["segments"]} == {None}


def test_a_day_before_the_first_order_is_refused_and_the_tags_stay(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    load_shop(shop)
    describe(shop, as_of=AS_OF)
    with pytest.raises(BadInput) as caught:
        describe(shop, as_of=date(1999, 6, 1))
    assert caught.value.code == "analysis.before_first_order"
    with shop.read() as reader:
        known = reader.query("SELECT count(recency_days) AS known FROM tags")["known"][0].as_py()
    assert known > 0
