"""The tree adds up to the workspace's totals; campaigns and the gap add up to the goal; misfits are refused."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from aimwell.core.errors import BadInput, Conflict, NotReady
from aimwell.engine.workspace import Workspace
from aimwell.goals.company import CompanyGoal
from aimwell.goals.drivers import find_value
from aimwell.goals.kept import find_goal, list_goals, remove_goal
from aimwell.goals.overview import Asked, choose_goal, read_pace, read_tree, refuse_past, set_company_goal
from aimwell.goals.step import load_goal, set_goal
from aimwell.goals.summary import summarise_tree
from aimwell.goals.tree import Tree
from tests.goals.market import FIRST, make_orders, open_shop

DAYS = 280
TODAY = FIRST + timedelta(days=DAYS)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace.create(tmp_path_factory.mktemp("tree") / "shop")
    open_shop(workspace, make_orders(days=DAYS), members=120)
    return workspace


@pytest.fixture
def empty(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "empty")


def set_company(workspace: Workspace, name: str, **more: object) -> CompanyGoal:
    asked = Asked(**{"name": name, "target": 0.08, "days": 56} | more)  # type: ignore[arg-type]
    return set_company_goal(workspace, asked, as_of=TODAY)


def clear(workspace: Workspace) -> None:
    """Take away every goal, those below first."""
    while goals := list_goals(workspace.store):
        for name in goals:
            if not any(getattr(goal, "parent", None) == name for goal in goals.values()):
                remove_goal(workspace.store, name)


@pytest.fixture(autouse=True)
def cleared(shop: Workspace) -> None:
    clear(shop)


def grow(workspace: Workspace, name: str, **more: object) -> Tree:
    return read_tree(workspace, name, **more)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("measure", ["revenue", "contribution", "orders"])
@pytest.mark.parametrize("split", ["swing", "equal"])
def test_the_identity_is_exact_and_the_parts_add_up_to_the_cent(
    shop: Workspace, measure: str, split: str
) -> None:
    goal = set_company(shop, "year", measure=measure)
    drivers = grow(shop, "year", split=split).drivers
    assert drivers is not None
    root = drivers.rows[0]
    sql = "SELECT SUM(revenue) AS revenue, COUNT(DISTINCT order_id) AS orders FROM order_lines WHERE ordered_on >= $day"
    with shop.read("goals") as reader:
        row = reader.query(sql, {"day": goal.baseline_start}).to_pylist()[0]
    total = row["revenue"] * Decimal("0.3") if measure == "contribution" else Decimal(row[measure])
    assert root.baseline == pytest.approx(float(total), abs=0.01)
    assert goal.baseline_amount == pytest.approx(total, abs=Decimal("0.01"))
    assert float(goal.target_amount) == pytest.approx(float(total) * 1.08, abs=0.02)
    assert root.together == pytest.approx(float(goal.target_amount), abs=0.02)
    assert drivers.wanted == goal.wanted
    leaves = [row for row in drivers.rows if row.node.kind == "leaf"]
    assert sum(row.part for row in leaves) == drivers.wanted
    assert sum(row.share for row in leaves) == pytest.approx(1)
    assert all(row.last_part is not None for row in leaves)
    values = {row.node.name: row.together for row in leaves}
    assert find_value(root.node, values) == pytest.approx(root.together)
    by_name = {row.node.name: row for row in drivers.rows}
    for row in drivers.rows:
        if row.node.children:
            assert sum(by_name[child.name].part for child in row.node.children) == row.part


def test_active_customers_are_retained_won_back_and_new(shop: Workspace) -> None:
    goal = set_company(shop, "year")
    drivers = grow(shop, "year").drivers
    assert drivers is not None
    assert drivers.parted
    value = {row.node.name: row.baseline for row in drivers.rows}
    before = goal.baseline_start - timedelta(days=goal.days)
    sql = """SELECT COUNT(DISTINCT customer_id) AS n FROM order_lines WHERE ordered_on >= $start AND customer_id IN (
        SELECT customer_id FROM order_lines WHERE ordered_on >= $before AND ordered_on < $start)"""
    with shop.read("goals") as reader:
        retained = reader.query(sql, {"start": goal.baseline_start, "before": before})["n"][0].as_py()
    assert value["retained"] == retained
    assert value["active"] == value["retained"] + value["won_back"] + value["new"]
    assert value["revenue"] == pytest.approx(value["active"] * value["frequency"] * value["order_value"])


def test_the_stated_split_is_kept(shop: Workspace) -> None:
    goal = set_company(shop, "year")
    drivers = grow(shop, "year", split={"retained": 0.25, "order_value": 0.75}).drivers
    assert drivers is not None
    part = {row.node.name: row.part for row in drivers.rows}
    assert float(part["order_value"]) == pytest.approx(float(goal.wanted) * 0.75, abs=0.01)
    assert part["retained"] + part["order_value"] == goal.wanted
    assert part["new"] == 0


def test_without_a_window_before_nobody_is_called_new(shop: Workspace) -> None:
    set_company(shop, "half", days=182)
    tree, lost = read_tree(shop, "half")
    assert tree.drivers is not None
    assert "new" not in {row.node.name for row in tree.drivers.rows}
    sentences = [text["en"] for text in summarise_tree(tree, lost, "CNY")["sentences"]]
    assert any("told apart" in text for text in sentences)


def test_campaigns_and_the_gap_add_up_to_the_goal(shop: Workspace) -> None:
    goal = set_company(shop, "year", budget=Decimal(100))
    set_goal(
        shop,
        as_of=TODAY,
        name="a",
        metric="revenue_per_customer",
        target=0.02,
        parent="year",
        budget=Decimal(80),
    )
    set_goal(
        shop,
        as_of=TODAY,
        name="b",
        metric="active_rate",
        target=0.05,
        parent="year",
        segment="friends",
        budget=Decimal(30),
    )
    set_goal(shop, as_of=TODAY, name="c", metric="repeat_rate", parent="a", days=14, amount=Decimal("12.34"))
    tree, lost = read_tree(shop, "c")
    assert tree.top.name == "year"
    assert tree.wanted == goal.wanted
    amounts = [campaign.amount for campaign in tree.campaigns]
    assert None not in amounts
    assert tree.gap is not None
    assert sum((amount or Decimal(0) for amount in amounts), tree.gap) == goal.wanted
    first = tree.campaigns[0]
    assert first.children[0].amount == Decimal("12.34")
    assert first.gap == (first.amount or Decimal(0)) - Decimal("12.34")
    with shop.read("goals") as reader:
        sql = "SELECT SUM(revenue) AS r FROM order_lines WHERE ordered_on >= $day"
        revenue = reader.query(sql, {"day": TODAY - timedelta(days=28)})["r"][0].as_py()
    assert float(first.amount or 0) == pytest.approx(float(revenue) * 0.02, abs=0.01)
    shown = summarise_tree(tree, lost, "CNY")
    said = [text["en"] for text in shown["sentences"]]
    assert any("assigned to no campaign yet" in text for text in said)
    assert any("'a' and 'b' count 120 customers" in text for text in said)
    assert shown["budget_gap"] == -10.0
    assert any("¥10.00 more than the goal's budget" in text for text in said)


def test_more_than_the_goal_is_said(shop: Workspace) -> None:
    set_company(shop, "small", target=None, amount=Decimal(10))
    set_goal(shop, as_of=TODAY, name="a", target=0.05, parent="small", amount=Decimal("12.50"))
    tree, lost = read_tree(shop, "small")
    assert tree.gap == Decimal("-2.50")
    said = summarise_tree(tree, lost, "CNY")["sentences"]
    assert said[0]["en"] == "The campaigns aim at ¥2.50 more than the goal."


def test_a_round_that_sets_its_goal_again_still_serves_the_parent(shop: Workspace) -> None:
    set_company(shop, "year")
    set_goal(shop, as_of=TODAY, parent="year", amount=Decimal(5))
    set_goal(shop, as_of=TODAY + timedelta(days=7))
    goal = load_goal(shop)
    assert goal is not None
    assert (goal.parent, goal.amount) == ("year", Decimal(5))
    set_goal(shop, as_of=TODAY + timedelta(days=70))
    assert (load_goal(shop) or goal).parent is None


def test_wrong_parents_are_refused(shop: Workspace) -> None:
    set_company(shop, "year")
    set_goal(shop, as_of=TODAY, name="a", parent="year")
    set_goal(shop, as_of=TODAY, name="b", parent="a")
    with pytest.raises(BadInput) as unknown:
        set_goal(shop, as_of=TODAY, name="c", parent="decade")
    assert unknown.value.code == "goals.unknown_goal"
    for name in ("a", "b"):
        with pytest.raises(Conflict) as circle:
            set_goal(shop, as_of=TODAY, name="a", parent=name)
        assert circle.value.code == "goals.circle"
    set_goal(shop, as_of=TODAY)
    with pytest.raises(BadInput) as moving:
        set_goal(shop, as_of=TODAY, name="c", parent="round")
    assert moving.value.code == "goals.round_moves"
    with pytest.raises(BadInput) as reserved:
        set_company(shop, "round")
    assert reserved.value.code == "goals.reserved_name"
    with pytest.raises(BadInput) as outside:
        set_goal(shop, as_of=TODAY + timedelta(days=50), name="c", parent="year")
    assert outside.value.code == "goals.outside_parent"
    with pytest.raises(BadInput) as shrunk:
        set_company(shop, "year", days=14)
    assert shrunk.value.code == "goals.outside_parent"
    with pytest.raises(Conflict) as taken:
        set_company(shop, "a")
    assert taken.value.code == "goals.name_taken"
    # Nothing of what was refused is kept.
    assert find_goal(shop.store, "a") == load_goal(shop, "a")
    assert set(list_goals(shop.store)) == {"year", "a", "b", "round"}


def test_a_goal_that_others_serve_cannot_be_removed_and_a_removed_one_cannot_be_served(
    shop: Workspace,
) -> None:
    set_company(shop, "year")
    set_goal(shop, as_of=TODAY, name="a", parent="year")
    with pytest.raises(Conflict) as served:
        remove_goal(shop.store, "year")
    assert served.value.code == "goals.has_children"
    remove_goal(shop.store, "a")
    remove_goal(shop.store, "year")
    with pytest.raises(BadInput):
        set_goal(shop, as_of=TODAY, name="a", parent="year")
    with pytest.raises(BadInput):
        remove_goal(shop.store, "year")
    with pytest.raises(NotReady):
        choose_goal(shop, None)


def test_a_parent_that_vanished_is_said_and_breaks_nothing(shop: Workspace) -> None:
    set_company(shop, "year")
    set_goal(shop, as_of=TODAY, name="a", parent="year")
    shop.store.save_definition("company_goal", "year", {"removed": True})
    tree, lost = read_tree(shop, "a")
    assert (tree.top.name, [goal.name for goal in lost]) == ("a", ["a"])
    said = summarise_tree(tree, lost, "CNY")["sentences"]
    assert said[-1]["en"] == "'a' served 'year', which is not there any more."
    assert read_pace(shop, "a", as_of=TODAY).elapsed == 0


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"measure": "likes"}, "goals.unknown_measure"),
        ({"days": 3}, "goals.bad_company_window"),
        ({"days": 200}, "goals.no_baseline"),
        ({"against": "year"}, "goals.no_baseline"),
        ({"against": "rivals"}, "goals.unknown_comparison"),
        ({"target": 70.0}, "goals.bad_target"),
        ({"target": None}, "goals.one_target"),
        ({"amount": Decimal(5)}, "goals.one_target"),
        ({"start": date(2025, 3, 1)}, "goals.window_over"),
    ],
)
def test_wrong_company_goals_are_refused(shop: Workspace, asked: dict[str, object], code: str) -> None:
    days = {"days": 150} if asked == {"days": 200} else {}
    with pytest.raises(BadInput) as refused:
        set_company(shop, "wrong", **asked | (days and {"days": 300}))
    assert refused.value.code == code
    assert refused.value.remedy is not None
    assert "wrong" not in list_goals(shop.store)


def test_no_orders_and_no_baseline_are_said(empty: Workspace) -> None:
    with pytest.raises(NotReady) as lacking:
        set_company(empty, "year")
    assert lacking.value.code == "goals.no_orders"
    lines = [{**line, "revenue": Decimal(0)} for line in make_orders(customers=5, days=120, rate=0.3)]
    open_shop(empty, lines, customers=5)
    with pytest.raises(BadInput) as nothing:
        set_company(empty, "year", days=28)
    assert nothing.value.code == "goals.zero_baseline"
    # The same as an amount can be set, but not reached by factors that are 0.
    set_company(empty, "year", days=28, target=None, amount=Decimal(100))
    with pytest.raises(BadInput):
        read_tree(empty, "year", split="equal")


def test_a_campaign_in_the_past_is_refused_by_the_command() -> None:
    with pytest.raises(BadInput) as over:
        refuse_past(TODAY - timedelta(days=28), 28, TODAY)
    assert over.value.code == "goals.window_over"
    refuse_past(TODAY - timedelta(days=27), 28, TODAY)
