"""Windows that expire: the schedule, and a refresh that equals a full evaluation on every day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from aimwell.analysis.rule_text import parse_rule
from aimwell.analysis.schedule import (
    expand_tags,
    find_day_start,
    find_figures,
    find_next_due,
    list_schedule,
    refresh_due,
)
from aimwell.analysis.segments import (
    Segment,
    find_members,
    list_rules,
    load_segments,
    save_segment,
)
from aimwell.analysis.step import describe
from aimwell.core.text import Text
from aimwell.engine.rule import Measured
from aimwell.engine.rule_types import read_rule_types
from aimwell.engine.workspace import Workspace
from tests.analysis.shop import AS_OF, load_shop, make_workspace

RULES = {
    "silent": "not bought in 30 days",
    "redeemed_lately": "did 'Coupon Redeemed' in 90 days",
    "late_ones": "recency_days > 33",
    "few_orders": "orders_90d <= 1 and not in segment silent",
    "viewed_only": "did 'Product Viewed' without bought within 7 days in 60 days",
}


def make_shop(folder: Path) -> Workspace:
    workspace = make_workspace(folder)
    load_shop(workspace)
    for name, text in RULES.items():
        save_segment(workspace.store, name, parse_rule(text))
    describe(workspace, as_of=AS_OF)
    return workspace


def read_open(workspace: Workspace) -> set[tuple[str, str]]:
    with workspace.read() as reader:
        rows = reader.query(
            "SELECT segment, customer_id FROM segment_members WHERE left_on IS NULL"
        ).to_pylist()
    return {(row["segment"], row["customer_id"]) for row in rows}


def evaluate_all(workspace: Workspace, day: date) -> set[tuple[str, str]]:
    with workspace.read() as reader:
        types = read_rule_types(reader)
        segments, _ = load_segments(workspace.store, types)
        figures = find_figures(reader)
        expanded = tuple(
            Segment(name, Text(name), expand_tags(rule, figures))
            for name, rule in list_rules(segments).items()
        )
        rows = find_members(reader, expanded, types, as_of=day).to_rows().to_pylist()
    return {(row["segment"], row["customer_id"]) for row in rows}


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 4, tzinfo=UTC)


def test_every_day_a_refresh_equals_a_full_evaluation(tmp_path: Path) -> None:
    workspace = make_shop(tmp_path)
    assert read_open(workspace) == evaluate_all(workspace, AS_OF), "expanded tags mean what the tags mean"
    changes = 0
    for number in (1, 2, 3, 4, 5, 8, 29, 30, 31, 33, 58):
        day = AS_OF + timedelta(days=number)
        refreshed = refresh_due(workspace, noon(day))
        changes += 0 if refreshed is None else refreshed.entered + refreshed.left
        assert read_open(workspace) == evaluate_all(workspace, day), day
    assert changes >= 5


def test_a_refresh_after_a_pause_has_the_days_of_each_change(tmp_path: Path) -> None:
    daily, late = make_shop(tmp_path / "daily"), make_shop(tmp_path / "late")
    for number in range(1, 9):
        refresh_due(daily, noon(AS_OF + timedelta(days=number)))
    refreshed = refresh_due(late, noon(AS_OF + timedelta(days=8)))
    assert refreshed is not None
    assert refreshed.as_of == AS_OF + timedelta(days=8)
    sql = "SELECT segment, customer_id, entered_on, left_on FROM segment_members ORDER BY ALL"
    with daily.read() as one, late.read() as other:
        assert one.query(sql).to_pylist() == other.query(sql).to_pylist()
    assert refresh_due(late, noon(AS_OF + timedelta(days=8))) is None


def test_the_schedule_names_the_instant_at_which_a_business_day_ends(tmp_path: Path) -> None:
    workspace = make_shop(tmp_path)
    rows = list_schedule(workspace)
    assert {row["segment"] for row in rows} >= set(RULES)
    assert all(row["due_at"] == find_day_start(row["due_on"], "Asia/Shanghai") for row in rows)  # type: ignore[arg-type]
    assert find_next_due(workspace) == min(row["due_at"] for row in rows)
    # Ben bought milk 31 days ago; Ann bought bread yesterday, and after 30 more days she is silent too.
    silent = [row["due_on"] for row in rows if row["segment"] == "silent"]
    assert AS_OF + timedelta(days=30) in silent
    assert find_day_start(date(2024, 4, 1), "Asia/Shanghai") == datetime(2024, 3, 31, 16, tzinfo=UTC)


def test_a_figure_becomes_empty_when_its_last_row_leaves_the_window(tmp_path: Path) -> None:
    workspace = make_shop(tmp_path)
    rules = {
        "ordered_once": "order_value_deviation is empty and largest_order_365d is not empty",
        "ordered_long_ago": "largest_order_365d is empty and recency_days is not empty",
    }
    for name, text in rules.items():
        save_segment(workspace.store, name, parse_rule(text))
    describe(workspace, as_of=AS_OF)
    # Ann ordered 99 and 30 days ago and yesterday, Ben 31 days ago.
    expected: dict[int, tuple[set[str], set[str]]] = {
        0: ({"ben"}, set()),
        334: ({"ben"}, set()),
        335: (set(), {"ben"}),
        336: ({"ann"}, {"ben"}),
        365: (set(), {"ann", "ben"}),
    }
    for days, members in expected.items():
        refresh_due(workspace, noon(AS_OF + timedelta(days=days)))
        found = read_open(workspace)
        for name, customers in zip(rules, members, strict=True):
            assert {customer for segment, customer in found if segment == name} == customers, (name, days)


def test_tags_that_are_plain_figures_are_measured_anew(tmp_path: Path) -> None:
    workspace = make_shop(tmp_path)
    with workspace.read() as reader:
        figures = find_figures(reader)
    assert {"recency_days", "orders_90d"} <= set(figures)
    assert not {"rfm_r", "is_best_20", "lifecycle_stage"} & set(figures)
    assert isinstance(expand_tags(parse_rule("recency_days > 30"), figures), Measured)
