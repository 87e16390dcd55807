from __future__ import annotations

from datetime import date
from decimal import Decimal
from functools import cache

import pyarrow.compute as pc

from aimwell.core.tables import TABLES
from aimwell.data.completejourney import Delivery, read_complete_journey


@cache
def whole_year() -> Delivery:
    return read_complete_journey(date(2018, 1, 1))


def test_the_published_counts_hold() -> None:
    delivery = whole_year()
    lines = delivery.tables["order_lines"]
    assert delivery.rows == delivery.accepted + delivery.rejected == 1_469_307
    assert lines.num_rows == delivery.accepted
    assert pc.count_distinct(lines["order_id"]).as_py() == 155_848
    assert pc.count_distinct(lines["customer_id"]).as_py() == 2_469
    assert pc.sum(lines["revenue"]).as_py() == Decimal("4596039.58")
    assert pc.min_max(lines["ordered_on"]).as_py() == {"min": date(2017, 1, 1), "max": date(2017, 12, 31)}


def test_what_is_odd_is_kept_and_named() -> None:
    delivery = whole_year()
    assert delivery.evidence["without_quantity"] == 8_869
    assert delivery.evidence["without_amount"] == 11_226
    assert delivery.evidence["unknown_products"] == 4_836
    assert "8869" in " ".join(text.render("en") for text in delivery.notices)


def test_the_tables_keep_their_contract() -> None:
    for name, data in whole_year().tables.items():
        columns = (
            TABLES[name].validate(data)
            if name != "order_lines"
            else TABLES[name].validate(data.slice(0, 20_000))
        )
        assert columns.num_rows > 0
    events = whole_year().tables["events"]
    assert pc.sum(pc.equal(events["name"], "Coupon Redeemed")).as_py() == 2_102
    assert whole_year().tables["products"].num_rows == 92_331


def test_nothing_after_until_is_known() -> None:
    part = read_complete_journey(date(2017, 3, 1), since=date(2017, 2, 1))
    lines, events = part.tables["order_lines"], part.tables["events"]
    assert pc.min_max(lines["ordered_on"]).as_py() == {"min": date(2017, 2, 1), "max": date(2017, 2, 28)}
    assert pc.max(events["occurred_on"]).as_py() < date(2017, 3, 1)
    whole = whole_year().tables["order_lines"]
    chosen = pc.and_(
        pc.greater_equal(whole["ordered_on"], date(2017, 2, 1)),
        pc.less(whole["ordered_on"], date(2017, 3, 1)),
    )
    assert lines.num_rows == pc.sum(chosen).as_py()
