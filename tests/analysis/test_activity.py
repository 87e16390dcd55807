"""Where nothing was bought, customers are placed and followed by what they do."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from aimwell.analysis.activity import map_activity, map_customers
from aimwell.analysis.flows import measure_flows
from aimwell.core.errors import NotReady
from aimwell.core.tables import TABLES
from tests.analysis.shop import AS_OF, load, make_workspace

ZONE = ZoneInfo("Asia/Shanghai")


def do(customer: str, number: int, days: int, product: str | None) -> dict[str, object]:
    day = AS_OF - timedelta(days=days)
    return {
        "event_id": f"{customer}-{number}",
        "customer_id": customer,
        "name": "Product Viewed",
        "occurred_at": datetime(day.year, day.month, day.day, 12, tzinfo=ZONE),
        "occurred_on": day,
        "product_id": product,
        "source": "t",
        "simulated": False,
    }


def visit(*, products: bool = True) -> list[dict[str, object]]:
    """Customer k of ten was last seen k days ago, on 11 − k days in a row, and looked at that many products."""
    return [
        do(f"c{place}", number, place + number, f"p{number}" if products else None)
        for place in range(1, 11)
        for number in range(11 - place)
    ]


@pytest.mark.parametrize(("products", "breadth"), [(True, 10.0), (False, 1.0)])
def test_the_map_orders_customers_by_activity(tmp_path: Path, products: bool, breadth: float) -> None:
    shop = make_workspace(tmp_path)
    load(shop, events=TABLES["events"].build(visit(products=products)))
    with shop.read() as reader:
        found = map_customers(reader, as_of=AS_OF)
    assert found["by"] == "activity"
    assert (found["customers"], found["events"], found["days"]) == (10, 55, 10)
    assert {(cell["r"], cell["f"]): cell["customers"] for cell in found["cells"]} == {
        (score, score): 2 for score in range(1, 6)
    }
    best = next(cell for cell in found["cells"] if cell["r"] == 5)
    assert best["events"] == 19
    assert best["breadth"] == (9.5 if products else breadth)
    areas = {area["name"]: area for area in found["areas"]}
    assert (areas["loyal"]["customers"], areas["gone"]["customers"]) == (4, 2)
    assert areas["promising"]["breadth"] is None
    assert sum(area["events_share"] for area in found["areas"]) == pytest.approx(1, abs=0.001)


def test_what_happened_on_the_day_itself_or_over_a_year_ago_does_not_count(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    rows = [
        do("today", 0, 0, "p"),
        do("long_ago", 0, 366, "p"),
        do("year", 0, 365, "p"),
        do("new", 0, 1, "p"),
    ]
    load(shop, events=TABLES["events"].build(rows))
    with shop.read() as reader:
        assert map_activity(reader, as_of=AS_OF)["customers"] == 2
        with pytest.raises(NotReady) as caught:
            map_activity(reader, as_of=date(2001, 1, 1))
    assert caught.value.code == "analysis.no_activity"


def test_flows_count_events_in_place_of_money(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    load(shop, events=TABLES["events"].build([do("a", n, 40 + 7 * n, "p") for n in range(10)]))
    with shop.read() as reader:
        found = measure_flows(
            reader, start=AS_OF - timedelta(days=39), end=AS_OF, movers=("active", "declining")
        )
    assert (found["activity"], found["stake"]) == ("events", "events")
    assert [(row["stage_from"], row["stage_to"], row["events"]) for row in found["moves"]] == [
        ("active", "declining", 10)
    ]
    assert found["worse"] == {"customers": 1, "events": 10}
    assert found["movers"] == [{"customer_id": "a", "events": 10}]
