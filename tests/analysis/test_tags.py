"""Every family of tags on a shop made by hand, the edges of windows, ties, and data that lacks something."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from aimwell.analysis.tags import CATALOGUE, ComputedTags, compute_tags
from aimwell.core.tables import TABLES
from aimwell.engine.workspace import Workspace
from tests.analysis.shop import AS_OF, buy, days_ago, load, load_shop, make_workspace
from tests.engine.scratch import build_lines


def compute(workspace: Workspace, as_of: date = AS_OF) -> ComputedTags:
    with workspace.run("analysis", as_of=as_of) as run:
        computed = compute_tags(workspace, run)
    return computed


def read_tags(workspace: Workspace) -> pa.Table:
    with workspace.read() as reader:
        return reader.query("SELECT * FROM tags ORDER BY customer_id")


def compute_rows(workspace: Workspace, as_of: date = AS_OF) -> dict[str, dict[str, Any]]:
    compute(workspace, as_of)
    return {row["customer_id"]: row for row in read_tags(workspace).to_pylist()}


@pytest.fixture(scope="module")
def tags(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    workspace = make_workspace(tmp_path_factory.mktemp("tags"))
    load_shop(workspace)
    found = compute_rows(workspace)
    workspace.close()
    return found


def pick(row: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in expected}


def test_there_are_enough_tags_and_each_has_words_in_both_languages() -> None:
    assert len(CATALOGUE) >= 120
    assert len({tag.name for tag in CATALOGUE}) == len(CATALOGUE)
    for tag in CATALOGUE:
        for text in (tag.title, tag.description):
            assert text.render("en") != text.render("zh"), tag.name


def test_rhythm(tags: dict[str, dict[str, Any]]) -> None:
    expected = {
        "recency_days": 1,
        "tenure_days": 99,
        "order_days_total": 3,
        "days_between_orders": 49.0,
        "overdue_ratio": 1 / 49,
        "orders_total": 3,
    }
    assert pick(tags["ann"], expected) == pytest.approx(expected)
    unknown = {"days_between_orders": None, "overdue_ratio": None}
    assert pick(tags["ben"], unknown) == unknown
    assert pick(tags["cid"], {"recency_days": 0, "orders_365d": 0}) == {
        "recency_days": None,
        "orders_365d": 0,
    }


def test_windows_hold_the_day_exactly_n_days_before(tags: dict[str, dict[str, Any]]) -> None:
    ann = {
        "orders_7d": 1,
        "orders_30d": 2,
        "orders_90d": 2,
        "orders_365d": 3,
        "order_days_90d": 2,
        "revenue_7d": -2.0,
        "revenue_30d": 18.0,
        "revenue_90d": 18.0,
        "revenue_365d": 38.0,
        "revenue_total": 38.0,
        "units_90d": 5.0,
        "units_365d": 7.0,
    }
    assert pick(tags["ann"], ann) == ann
    ben = {"orders_30d": 0, "orders_90d": 1, "revenue_30d": 0.0, "revenue_90d": 6.0}
    assert pick(tags["ben"], ben) == ben
    assert tags["cid"]["revenue_365d"] == 0.0


def test_trends_compare_per_day(tags: dict[str, dict[str, Any]]) -> None:
    assert tags["ann"]["orders_trend"] == 1.0
    assert tags["ben"]["orders_trend"] == -1.0
    assert tags["ben"]["revenue_trend"] == -1.0
    # 18 in the last 90 days against 20 in the 90 before.
    assert tags["ann"]["revenue_trend_90d"] == pytest.approx(-2 / 38)
    assert tags["cid"]["orders_trend"] is None


def test_baskets_discounts_and_returns(tags: dict[str, dict[str, Any]]) -> None:
    expected = {
        "average_order_value": 50 / 3,
        "largest_order_365d": 20.0,
        "lines_per_order": 4 / 3,
        "units_per_order": 8 / 3,
        "price_per_unit": 50 / 8,
        "discount_365d": 10.0,
        "discount_share_365d": 10 / 48,
        "discounted_lines_share_365d": 3 / 5,
        "returns_365d": 1,
        "return_share_365d": 1 / 5,
    }
    assert pick(tags["ann"], expected) == pytest.approx(expected)


def test_preferences(tags: dict[str, dict[str, Any]]) -> None:
    expected = {
        "favourite_department": "FOOD",
        "favourite_department_share": 1.0,  # the ball came back: 38 of 38
        "favourite_category": "BAKERY",
        "favourite_category_share": 30 / 38,
        "favourite_brand": "Own",
        "favourite_brand_share": 30 / 38,
        "favourite_store": "S2",
        "favourite_store_share": 2 / 3,
        "favourite_hour": 19,
        "favourite_hour_share": 2 / 3,
        "favourite_weekday": 6,
        "favourite_weekday_share": 2 / 3,
        "weekend_share": 2 / 3,
        "morning_share": 1 / 3,
        "evening_share": 2 / 3,
        "departments_90d": 2,
        "categories_365d": 3,
        "products_90d": 3,
        "products_365d": 3,
        "product_variety_365d": 3 / 4,
        "stores_365d": 2,
    }
    assert pick(tags["ann"], expected) == pytest.approx(expected)
    assert tags["ben"]["evening_share"] == 0.0


def test_coupons_messages_and_views(tags: dict[str, dict[str, Any]]) -> None:
    expected = {
        "coupon_redemptions_90d": 2,
        "coupon_redemptions_365d": 3,
        "days_since_coupon": 1,
        "messages_received_28d": 1,
        "messages_received_365d": 2,
        "days_since_message": 28,
        "events_30d": 2,
        "days_since_event": 1,
        "product_views_30d": 1,
        "messages_opened_90d": None,
        "complaints_365d": None,
    }
    assert pick(tags["ann"], expected) == expected
    # What happens today is not known yet.
    assert tags["ben"]["coupon_redemptions_365d"] == 0


def test_known_channels_consents_and_attributes(tags: dict[str, dict[str, Any]]) -> None:
    ann = {
        "email_known": True,
        "phone_known": False,
        "consent_email": True,
        "consent_sms": None,
        "attribute_region": "North",
        "attribute_household_size": "2",
    }
    assert pick(tags["ann"], ann) == ann
    ben = {"email_known": False, "phone_known": True, "consent_email": True, "consent_sms": False}
    assert pick(tags["ben"], ben) == ben


def test_standing_among_all_customers(tags: dict[str, dict[str, Any]]) -> None:
    # Two buyers stand at the first and third quarter: quintiles 2 and 4.
    ann = {"rfm_r": 4, "rfm_f": 4, "rfm_m": 4, "rfm_cell": "444", "value_tier": "best_20", "is_best_20": True}
    assert pick(tags["ann"], ann) == ann
    ben = {
        "rfm_r": 2,
        "rfm_f": 2,
        "rfm_m": 2,
        "rfm_cell": "222",
        "value_tier": "low",
        "value_percentile": 0.25,
    }
    assert pick(tags["ben"], ben) == ben
    cid = {"rfm_r": None, "rfm_cell": None, "value_tier": "low", "is_best_20": False}
    assert pick(tags["cid"], cid) == cid
    stages = {name: row["lifecycle_stage"] for name, row in tags.items()}
    assert stages == {"ann": "active", "ben": "active", "cid": "prospect"}


def test_nothing_from_as_of_onwards_is_known(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    load_shop(workspace)
    earlier = compute_rows(workspace, as_of=days_ago(30))
    assert earlier["ann"]["orders_total"] == 1
    assert earlier["ben"]["recency_days"] == 1
    assert earlier["ann"]["coupon_redemptions_365d"] == 3  # 366 days before today is 336 before that day


def test_orders_without_money_products_or_hours_leave_tags_empty_and_say_so(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    load(workspace, order_lines=build_lines(buy("x", "o1", 3, None, None), buy("y", "o2", 9, None, None)))
    computed = compute(workspace)
    rows = {row["customer_id"]: row for row in read_tags(workspace).to_pylist()}
    assert rows["x"]["orders_30d"] == 1
    assert rows["x"]["favourite_weekday"] == days_ago(3).isoweekday()
    for name in (
        "revenue_30d",
        "rfm_m",
        "rfm_cell",
        "value_tier",
        "is_best_20",
        "favourite_hour",
        "departments_90d",
    ):
        assert rows["x"][name] is None, name
    assert rows["x"]["rfm_r"] == 4
    said = " ".join(text.render("en") for text in computed.lacks)
    assert "order_lines has no values in 'revenue'" in said
    assert "order_lines has no values in 'ordered_hour'" in said


def test_favourites_without_money_are_counted(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    lines = [
        buy("x", "o1", 3, "bread", None),
        buy("x", "o1", 3, "ball", None),
        buy("x", "o2", 2, "ball", None),
    ]
    products = TABLES["products"].build(
        [
            {"product_id": "bread", "department": "FOOD", "source": "t"},
            {"product_id": "ball", "department": "TOYS", "source": "t"},
        ]
    )
    load(workspace, order_lines=build_lines(*lines), products=products)
    row = compute_rows(workspace)["x"]
    assert (row["favourite_department"], row["favourite_department_share"]) == ("TOYS", pytest.approx(2 / 3))


@pytest.mark.parametrize("customers", [1, 3])
def test_an_audience_of_one_or_three_has_scores(tmp_path: Path, customers: int) -> None:
    workspace = make_workspace(tmp_path)
    lines = [buy(f"c{n}", f"o{n}", 10 * (n + 1), None, str(100 - n)) for n in range(customers)]
    load(workspace, order_lines=build_lines(*lines))
    rows = compute_rows(workspace)
    assert [row["rfm_r"] for row in rows.values()] == ([3] if customers == 1 else [5, 3, 1])
    assert [row["is_best_20"] for row in rows.values()] == [True, False, False][:customers]


def test_those_who_tie_have_the_same_scores_and_the_best_are_exactly_a_fifth(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    load(
        workspace, order_lines=build_lines(*(buy(f"c{n:02d}", f"o{n}", 5, None, "10.00") for n in range(20)))
    )
    rows = compute_rows(workspace)
    assert {(row["rfm_r"], row["rfm_f"], row["rfm_m"]) for row in rows.values()} == {(3, 3, 3)}
    assert [name for name, row in rows.items() if row["is_best_20"]] == ["c00", "c01", "c02", "c03"]
    first = read_tags(workspace).drop_columns(["run_id"])
    compute(workspace)
    assert first.equals(read_tags(workspace).drop_columns(["run_id"]))


def test_an_attribute_may_have_any_name(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    customers = TABLES["customers"].build([{"customer_id": "x", "source": "t"}])
    load(workspace, customers=customers.append_column('Odd "name" 姓', pa.array(["v"])))
    assert compute_rows(workspace)["x"]['attribute_Odd "name" 姓'] == "v"


def test_money_is_summed_exactly(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    load(workspace, order_lines=build_lines(*(buy("x", f"o{n}", 2, None, "0.10") for n in range(1000))))
    assert compute_rows(workspace)["x"]["revenue_7d"] == float(Decimal("100.00"))
