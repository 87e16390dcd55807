"""A small shop with everything that engines like to disagree about: nulls, returns, other scripts, cents, month
ends, leap days, ties, empty texts, customers who were joined, rows of the future. Today is 2024-03-01."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, Literal

import pyarrow as pa

from aimwell.core.tables import TABLES
from aimwell.engine.settings import EngineSettings, Settings
from aimwell.engine.workspace import Workspace

Engine = Literal["duckdb", "spark", "clickhouse"]
AS_OF = date(2024, 3, 1)
CUSTOMERS = [
    *(f"c{number:02d}" for number in range(50)),
    "客户一",
    "客户二",
    "o'brien",
    "back\\slash",
    "Z",
    "z",
    "éa",
    "ea",
    "010",
    "10",
]
JOINED = {"c01": "c00", "客户二": "客户一", "gone": "c05", "z": "Z"}
"""Record → customer; of the record ``gone`` there are orders but no row of customers."""
DAYS = [
    *(date(2024, 2, day) for day in (1, 15, 28, 29)),
    *(date(2023, month, 28) for month in range(1, 13)),
    *(
        AS_OF - timedelta(days=days)
        for days in (0, 1, 6, 7, 8, 27, 28, 29, 30, 31, 60, 90, 91, 180, 364, 365, 366)
    ),
    date(2020, 2, 29),
    date(2023, 12, 31),
    date(2024, 1, 1),
    date(1999, 12, 31),
    AS_OF + timedelta(days=1),
]
MONEY = ["0.01", "0.10", "0.30", "1.10", "19.99", "100.00", "99999999.99", "0.00", "-5.00", "-19.99", None]
NAMES = [
    *(
        "Product Viewed",
        "Product Added",
        "Product Searched",
        "Products Searched",
        "Cart Viewed",
        "Checkout Started",
    ),
    *(
        "Order Completed",
        "Coupon Redeemed",
        "Coupon Sent",
        "Message Sent",
        "Message Opened",
        "Message Clicked",
    ),
    *("Complaint Filed", "Visit", "Page", "Review Written", "Referral Made", "Invitation Sent", "App Opened"),
    "新事件's",
]


def build_world() -> dict[str, pa.Table]:
    """The delivered tables, the same at every call."""
    random = Random(20240229)
    return {
        "customers": _build_customers(random),
        "products": _build_products(random),
        "order_lines": TABLES["order_lines"].build([_make_line(random, number) for number in range(900)]),
        "events": TABLES["events"].build([_make_event(random, number) for number in range(900)]),
        "consents": _build_consents(random),
        "signals": TABLES["signals"].build([_make_signal(random, number) for number in range(120)]),
        "identities": TABLES["identities"].build(
            [{"record_id": key, "customer_id": value, "run_id": "r"} for key, value in JOINED.items()]
        ),
    }


def make_workspace(path: Path, engine: Engine, *, tables: dict[str, pa.Table] | None = None) -> Workspace:
    """A workspace of the world, on ``engine``."""
    settings = Settings(engine=EngineSettings(name=engine, threads=2))
    workspace = Workspace.create(path, settings=settings)
    with workspace.run("data", as_of=AS_OF) as run:
        for name, table in (build_world() if tables is None else tables).items():
            # Two files of each table, the one without rows in the columns that are optional and never filled.
            run.append(name, table.slice(0, table.num_rows // 2))
            run.append(name, table.slice(table.num_rows // 2))
    return workspace


def _build_customers(random: Random) -> pa.Table:
    rows = [
        {
            "customer_id": customer,
            "email": random.choice([None, "", f"{number}@example.com"]),
            "phone": random.choice([None, "", f"+86138{number:08d}"]),
            "address": random.choice([None, "北京市 O'Hara \\ street"]),
            "region": random.choice([None, "华东", "North"]),
            "source": random.choice(["till", "web"]),
            "年龄": random.choice([None, "", "18", "35", "60"]),
            "city": random.choice([None, "上海", "Bonn", "bonn"]),
            "birth_date": random.choice([None, "1990/2/28", "２０００年2月29日"]),
            "gender": random.choice([None, "F", "M", "女"]),
            "referred_by": random.choice([None, None, *CUSTOMERS[:8]]),
        }
        for number, customer in enumerate(CUSTOMERS)
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema([(name, pa.string()) for name in rows[0]]))


def _build_products(random: Random) -> pa.Table:
    return TABLES["products"].build(
        [
            {
                "product_id": f"p{number}",
                "name": f"product {number}",
                "department": random.choice([None, "FOOD", "食品", "TOYS"]),
                "category": random.choice([None, "TEA", "茶", "茶叶", "tea", ""]),
                "brand": random.choice([None, "Own", "牌子"]),
                "price": Decimal(random.choice(["1.00", "0.99", "250.00"])),
                "unit_cost": random.choice([None, Decimal("0.33"), Decimal("70.01")]),
                "source": "till",
            }
            for number in range(14)
        ]
    )


def _make_line(random: Random, number: int) -> dict[str, Any]:
    day = random.choice(DAYS)
    hour = random.choice([None, *range(24)])
    revenue = random.choice(MONEY)
    return {
        "line_id": f"l{number}",
        # Few order numbers, so that orders have several lines and some numbers belong to two customers.
        "order_id": f"o{day.isoformat()}-{random.randrange(12)}",
        "customer_id": random.choice([*CUSTOMERS[2:], "gone", "never seen"]),
        "product_id": random.choice([None, "missing", *(f"p{product}" for product in range(14))]),
        "ordered_at": datetime(day.year, day.month, day.day, hour or 0, random.randrange(2), tzinfo=UTC),
        "ordered_on": day,
        "ordered_hour": hour,
        "quantity": random.choice([None, 0.0, 1.0, 2.0, 0.375, -1.0]),
        "revenue": None if revenue is None else Decimal(revenue),
        "discount": random.choice([None, Decimal("0.00"), Decimal("0.05"), Decimal("3.33")]),
        "store_id": random.choice([None, "S1", "S10", "S2", "店"]),
        "source": random.choice(["till", "web"]),
        "simulated": False,
    }


def _make_event(random: Random, number: int) -> dict[str, Any]:
    day = random.choice(DAYS)
    # Few instants a day, so that ties are frequent; some differ by a microsecond.
    at = datetime(day.year, day.month, day.day, random.choice([0, 12]), 0, 0, random.choice([0, 0, 1]), UTC)
    return {
        # Ids in another order than the instants.
        "event_id": f"e{(number * 7919) % 10007:05d}",
        "customer_id": random.choice([*CUSTOMERS[:20], "客户一", "客户二", "gone"]),
        "name": random.choice(NAMES),
        "occurred_at": at,
        "occurred_on": day,
        "product_id": random.choice([None, "p1", "p2", "missing"]),
        "campaign_id": random.choice([None, "spring"]),
        "channel": random.choice([None, "email", "sms", "app", "web"]),
        "properties": random.choice(
            [
                None,
                "{}",
                json.dumps({"stage": "lead", "value": 3.5, "referred": "c02"}),
                json.dumps({"stage": "成交", "note": 'say "hi"\\'}, ensure_ascii=False),
                json.dumps({"stage": None, "query": "tea", "minutes": 12, "invited": "c03"}),
            ]
        ),
        "received_at": random.choice([None, at + timedelta(hours=30)]),
        "source": "web",
        "simulated": False,
    }


def _build_consents(random: Random) -> pa.Table:
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for _ in range(300):
        since = datetime(2024, random.choice([1, 2]), random.choice([1, 2, 28]), tzinfo=UTC)
        row = {
            "customer_id": random.choice(CUSTOMERS),
            "channel": random.choice(["email", "sms", "call", "mail", "push"]),
            "purpose": random.choice(["marketing", "marketing", "service"]),
            "allowed": random.random() < 0.6,
            "since": since,
            "until": random.choice([None, None, since + timedelta(days=20), since + timedelta(days=400)]),
            "source": random.choice(["till", "web"]),
        }
        rows[row["customer_id"], row["channel"], row["purpose"], since] = row
    return TABLES["consents"].build(list(rows.values()))


def _make_signal(random: Random, number: int) -> dict[str, Any]:
    day = random.choice(DAYS)
    return {
        "signal_id": f"s{number}",
        "customer_id": random.choice(CUSTOMERS),
        "kind": random.choice(["satisfaction", "preference", "complaint", "loyalty", "other"]),
        "name": random.choice(["nps", "csat", "delivery", "配送"]),
        "score": random.choice([None, 0.0, 1.0, 5.0, 9.5, 10.0]),
        "text": random.choice([None, "", "很好", "bad"]),
        "given_at": datetime(day.year, day.month, day.day, 12, tzinfo=UTC),
        "given_on": day,
        "source": "survey",
    }
