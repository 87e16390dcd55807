"""An empty segment says which data keep it empty; a tree grows on events alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from typer.testing import CliRunner

from aimwell.analysis.response_tree import build_response_tree
from aimwell.analysis.rule_text import parse_rule
from aimwell.analysis.segment_lacks import explain_empty, find_lacks
from aimwell.analysis.step import describe
from aimwell.cli.app import app
from aimwell.core.tables import TABLES
from aimwell.engine.rule_types import read_rule_types
from aimwell.engine.workspace import Workspace
from tests.analysis.shop import AS_OF, days_ago, load, make_workspace


@pytest.fixture(scope="module")
def browsers(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """600 customers without orders; those who viewed much add to the cart in the weeks after."""
    shop = make_workspace(tmp_path_factory.mktemp("browsers"))
    rng = np.random.default_rng(5)
    rows = []
    for number in range(600):
        keen = number % 3 == 0
        acts = [("Product Viewed", int(ago)) for ago in rng.integers(1, 80, 12 if keen else 2)] + [
            ("Page Viewed", 79)
        ]
        acts += [("Product Added", ago) for ago in (3, 20) if rng.random() < (0.7 if keen else 0.1)]
        for name, ago in acts:
            day = days_ago(ago)
            rows.append(
                {"event_id": f"e{len(rows)}", "customer_id": f"c{number:03d}", "name": name, "source": "web",
                 "occurred_at": datetime(day.year, day.month, day.day, 4, tzinfo=UTC), "occurred_on": day,
                 "product_id": "p1", "simulated": False}
            )  # fmt: skip
    customers = [{"customer_id": f"c{n:03d}", "source": "web"} for n in range(600)]
    load(shop, events=TABLES["events"].build(rows), customers=TABLES["customers"].build(customers))
    describe(shop, as_of=AS_OF)
    return shop


def test_built_in_segments_say_which_data_they_need(browsers: Workspace) -> None:
    with browsers.read() as reader:
        lacks = find_lacks(reader, as_of=AS_OF)
        empty = set(reader.query("SELECT segment FROM segments WHERE size = 0")["segment"].to_pylist())
    assert set(lacks) == empty
    assert "no orders" in lacks["champions"].render("en") and "没有订单" in lacks["active_customers"].render(
        "zh"
    )
    assert "Coupon Redeemed" in lacks["coupon_redeemers"].render("en")
    run = CliRunner()
    for command in ("segments", "run"):
        told = " ".join(run.invoke(app, ["-w", str(browsers.path), "analysis", command]).output.split())
        assert "Empty for lack of data" in told and "There are no orders." in told
        assert "has no values in 'revenue'" not in told, "no orders are told once"
    assert f"aimwell -w {browsers.path} analysis flows" in told


def test_what_may_hold_without_a_tag_is_not_said_to_lack_it() -> None:
    missing = {"orders_365d": "order_lines", "discount_share_365d": "order_lines.discount"}
    rules = {
        "both": parse_rule("product_views_30d > 3 and orders_365d > 1"),
        "either": parse_rule("product_views_30d > 3 or orders_365d > 1"),
        "neither": parse_rule("discount_share_365d > 0.5 or orders_365d > 1"),
        "not": parse_rule("not orders_365d > 1"),
    }
    found = explain_empty(rules, missing)
    assert set(found) == {"both", "neither"}
    assert "discount" in found["neither"].render("en")


def test_a_tree_grows_on_events_alone(browsers: Workspace) -> None:
    with browsers.read() as reader:
        outcome = parse_rule("did 'Product Added' in 14 days")
        tree = build_response_tree(reader, read_rule_types(reader), outcome, as_of=AS_OF, days=14)
    assert tree.grown_on == tree.checked_on == 600
    assert len(tree.drafts) >= 2 and tree.area > 0.6


def test_a_tree_without_orders_asks_for_the_event(browsers: Workspace) -> None:
    build = ["-w", str(browsers.path), "analysis", "segment", "build", "--by", "tree"]
    told = str(CliRunner().invoke(app, build).exception)
    assert "no orders" in told and "--outcome \"did 'Product Added' in 28 days\"" in told
    long = [*build, "--days", "60", "--outcome", "did 'Product Added' in 60 days"]
    assert (AS_OF - timedelta(days=120)).isoformat() in str(CliRunner().invoke(app, long).exception)
