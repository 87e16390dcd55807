"""A shop made by hand: every figure of its customers can be worked out on paper. Today is 2024-03-31, a Sunday."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from aimwell.core.tables import TABLES
from aimwell.engine.workspace import Workspace
from tests.engine.scratch import AS_OF as AS_OF
from tests.engine.scratch import build_events, build_lines


def days_ago(days: int) -> date:
    return AS_OF - timedelta(days=days)


def buy(
    customer: str, order: str, days: int, product: str | None, revenue: str | None, **more: Any
) -> dict[str, Any]:
    paid = None if revenue is None else Decimal(revenue)
    row = {
        "customer_id": customer,
        "order_id": order,
        "ordered_on": days_ago(days),
        "product_id": product,
        "revenue": paid,
    }
    return {**row, **more}


PRODUCTS = [
    {"product_id": "bread", "department": "FOOD", "category": "BAKERY", "brand": "Own", "source": "t"},
    {"product_id": "milk", "department": "FOOD", "category": "DAIRY", "brand": "Farm", "source": "t"},
    {"product_id": "ball", "department": "TOYS", "category": "BALLS", "brand": "Own", "source": "t"},
]
ANN = [
    # A Saturday morning, 99 days ago; a Friday evening on the edge of 30 days; yesterday, a Saturday; then a return.
    buy(
        "ann",
        "a1",
        99,
        "bread",
        "20.00",
        quantity=2.0,
        discount=Decimal("5.00"),
        ordered_hour=9,
        store_id="S1",
    ),
    buy(
        "ann",
        "a2",
        30,
        "milk",
        "8.00",
        quantity=4.0,
        discount=Decimal("0.00"),
        ordered_hour=19,
        store_id="S2",
    ),
    buy(
        "ann",
        "a2",
        30,
        "ball",
        "12.00",
        quantity=1.0,
        discount=Decimal("3.00"),
        ordered_hour=19,
        store_id="S2",
    ),
    buy(
        "ann",
        "a3",
        1,
        "bread",
        "10.00",
        quantity=1.0,
        discount=Decimal("2.00"),
        ordered_hour=19,
        store_id="S2",
    ),
    buy(
        "ann",
        "a4",
        1,
        "ball",
        "-12.00",
        quantity=-1.0,
        discount=Decimal("0.00"),
        ordered_hour=20,
        store_id="S2",
    ),
]
BEN = [
    buy(
        "ben",
        "b1",
        31,
        "milk",
        "6.00",
        quantity=3.0,
        discount=Decimal("0.00"),
        ordered_hour=12,
        store_id="S1",
    )
]


def make_workspace(folder: Path) -> Workspace:
    return Workspace.create(folder / "shop", name="shop", zone="Asia/Shanghai", currency="CNY")


def load(workspace: Workspace, **tables: pa.Table) -> None:
    with workspace.run("data", as_of=AS_OF) as run:
        for name, table in tables.items():
            run.replace(name, table)


def load_shop(workspace: Workspace) -> None:
    """Ann buys, returns, redeems and is written to; Ben bought once; Cid is known by name only."""
    load(
        workspace,
        order_lines=build_lines(*ANN, *BEN),
        products=TABLES["products"].build(PRODUCTS),
        customers=build_customers(),
        events=build_events(
            ("ann", "Coupon Redeemed", days_ago(1)),
            ("ann", "Coupon Redeemed", days_ago(90)),
            ("ann", "Coupon Redeemed", days_ago(91)),
            ("ann", "Coupon Redeemed", days_ago(366)),
            ("ann", "Message Sent", days_ago(28)),
            ("ann", "Message Sent", days_ago(29)),
            ("ann", "Product Viewed", days_ago(3)),
            ("ben", "Coupon Redeemed", AS_OF),
        ),
        consents=build_consents(
            ("ann", "email", False, datetime(2024, 1, 1, tzinfo=UTC)),
            ("ann", "email", True, datetime(2024, 2, 1, tzinfo=UTC)),
            # 16:00 in London is midnight of as_of in Shanghai: not known yet.
            ("ann", "email", False, datetime(2024, 3, 30, 16, tzinfo=UTC)),
            ("ben", "email", True, datetime(2024, 3, 30, 15, 59, tzinfo=UTC)),
            ("ben", "sms", False, datetime(2024, 3, 1, tzinfo=UTC)),
        ),
    )


def build_customers() -> pa.Table:
    declared = TABLES["customers"].build(
        [
            {"customer_id": "ann", "email": "ann@example.com", "region": "North", "source": "t"},
            {"customer_id": "ben", "email": "", "phone": "555", "source": "t"},
            {"customer_id": "cid", "source": "t"},
        ]
    )
    return declared.append_column("household_size", pa.array(["2", None, "1"]))


def build_consents(*rows: tuple[str, str, bool, datetime]) -> pa.Table:
    names = ("customer_id", "channel", "allowed", "since")
    words = [dict(zip(names, row, strict=True)) for row in rows]
    return TABLES["consents"].build([{**word, "purpose": "marketing", "source": "t"} for word in words])
