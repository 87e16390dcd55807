"""Made-up customers, orders and events for the benches: skewed like a shop's, the same for a scale at every run.

``small`` has 20 thousand customers and 1 million events, ``full`` 1 million and 50 million. A workspace that was
made once is kept under ``$AIMWELL_BENCH`` (or the temporary folder) and used again, as long as store, tables and
settings are what they were; else it is made anew. As a program it makes one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aimwell.core.tables import ALL_TABLES, CONSENTS, CUSTOMERS, EVENTS, ORDER_LINES, PRODUCTS
from aimwell.engine.settings import Settings
from aimwell.engine.store_metadata import METADATA
from aimwell.engine.workspace import Workspace
from bench.result import Scale, measure, read_scale

VERSION = 1
"""Raised whenever the same scale gives other rows than before."""
AS_OF = date(2026, 1, 1)
ZONE = "Asia/Shanghai"
CUSTOMERS_BY_SCALE = {"small": 20_000, "full": 1_000_000}
EVENTS_PER_CUSTOMER = 50
LINES_PER_CUSTOMER = 5
PRODUCT_COUNT = 5_000
NAMES = (
    "Product Viewed",
    "Product Added",
    "Product Added to Wishlist",
    "Checkout Started",
    "Message Sent",
    "Email Opened",
)
SHARES = (0.68, 0.14, 0.05, 0.04, 0.06, 0.03)
CHANNELS = ("web", "app", "mini_programme", "email")
REGIONS = ("华东", "华南", "华北", "西南", "东北", "西北")


def make_workspace(scale: Scale) -> Workspace:
    """The workspace of ``scale``, made if it is not there; open, and to be closed by the caller."""
    folder = Path(os.environ.get("AIMWELL_BENCH", tempfile.gettempdir())) / f"aimwell-bench-{scale}"
    if is_complete(folder):
        return Workspace.open(folder)
    shutil.rmtree(folder, ignore_errors=True)
    workspace = Workspace.create(folder, name="bench", zone=ZONE, currency="CNY")
    _fill(workspace, CUSTOMERS_BY_SCALE[scale])
    mark_complete(folder)
    return workspace


def is_complete(folder: Path) -> bool:
    """Whether ``folder`` was filled to its end by this version of the generator, store, tables and settings."""
    mark = folder / "complete"
    return mark.exists() and mark.read_text(encoding="utf-8") == describe_version()


def mark_complete(folder: Path) -> None:
    """Say that ``folder`` is filled, and by which version."""
    (folder / "complete").write_text(describe_version(), encoding="utf-8")


def describe_version() -> str:
    """What rows are made, and a digest of the form in which they are kept; JSON."""
    store = {
        table.name: [(one.name, str(one.type)) for one in table.columns] for table in METADATA.sorted_tables
    }
    tables = {table.name: [(one.name, one.type.value) for one in table.columns] for table in ALL_TABLES}
    kept = json.dumps([store, tables, Settings.model_json_schema()], sort_keys=True)
    return json.dumps({"rows": VERSION, "form": hashlib.sha256(kept.encode()).hexdigest()})


def _fill(workspace: Workspace, customers: int) -> None:
    rng = np.random.default_rng(20_260_101)
    activity = rng.lognormal(0.0, 1.2, customers)
    people = rng.choice(
        customers, customers * (EVENTS_PER_CUSTOMER + LINES_PER_CUSTOMER), p=activity / activity.sum()
    )
    events, lines = people[: customers * EVENTS_PER_CUSTOMER], people[customers * EVENTS_PER_CUSTOMER :]
    with workspace.run("data", as_of=AS_OF) as run:
        run.append("customers", _make_customers(rng, customers))
        run.append("products", _make_products(rng))
        run.append("consents", _make_consents(rng, customers))
    # A month at a time, as a shop delivers them, so that the memory of a month is enough.
    for month, (first, part) in enumerate(_split_by_month(rng, events)):
        with workspace.run("data", as_of=AS_OF) as run:
            run.append("events", _make_events(rng, part, first, month))
    for month, (first, part) in enumerate(_split_by_month(rng, lines)):
        with workspace.run("data", as_of=AS_OF) as run:
            run.append("order_lines", _make_lines(rng, part, first, month))


def _split_by_month(
    rng: np.random.Generator, people: NDArray[np.int64]
) -> Iterator[tuple[date, NDArray[np.int64]]]:
    """Twelve months of 2025, the later ones busier."""
    weights = np.linspace(0.8, 1.2, 12)
    ends = np.floor(np.cumsum(weights / weights.sum()) * len(people)).astype(np.int64)
    start = 0
    for month, end in enumerate(ends):
        yield date(2025, month + 1, 1), people[start : int(end)]
        start = int(end)


def _make_moments(
    rng: np.random.Generator, count: int, first: date
) -> tuple[pa.Array, pa.Array, NDArray[np.int64]]:
    """Instants, business days and hours: evenly over the days, mostly in the evening."""
    following = (first.replace(day=28) + timedelta(days=4)).replace(day=1)
    days = rng.integers(0, (following - first).days, count)
    hours = np.clip(rng.normal(17, 4, count), 0, 23.999)
    midnight = int(datetime(first.year, first.month, 1, tzinfo=ZoneInfo(ZONE)).timestamp()) * 1_000_000
    instants = midnight + days * 86_400_000_000 + (hours * 3_600_000_000).astype(np.int64)
    day_numbers = ((first - date(1970, 1, 1)).days + days).astype(np.int32)
    return (
        pa.array(instants, pa.timestamp("us", tz="UTC")),
        pa.array(day_numbers, pa.int32()).cast(pa.date32()),
        hours.astype(np.int64),
    )


def _name(prefix: str, numbers: NDArray[np.int64]) -> pa.Array:
    """``prefix`` and eight digits; distinct names are spelled once."""
    distinct, codes = np.unique(numbers, return_inverse=True)
    return _pick([f"{prefix}{number:08d}" for number in distinct.tolist()], codes)


def _pick(values: list[str] | tuple[str, ...], codes: NDArray[np.int64]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(values, pa.string())).cast(
        pa.string()
    )


def _number(month: int, prefix: str, count: int) -> pa.Array:
    return pa.array([f"{prefix}{month:02d}{number:08d}" for number in range(count)], pa.string())


def _build(schema: pa.Schema, columns: dict[str, pa.Array], count: int) -> pa.Table:
    return pa.table(
        [columns[field.name] if field.name in columns else pa.nulls(count, field.type) for field in schema],
        schema=schema,
    )


def _make_customers(rng: np.random.Generator, count: int) -> pa.Table:
    numbers = np.arange(count)
    table = _build(
        CUSTOMERS.schema,
        {
            "customer_id": _name("c", numbers),
            "email": pa.array([f"c{number:08d}@example.com" for number in range(count)], pa.string()),
            "phone": pa.array([f"+86138{number:08d}" for number in range(count)], pa.string()),
            "region": _pick(REGIONS, rng.choice(len(REGIONS), count)),
            "source": pa.repeat("generated", count),
        },
        count,
    )
    years = rng.integers(1950, 2008, count)
    table = table.append_column("birth_date", pa.array([f"{year}-06-15" for year in years], pa.string()))
    return table.append_column("sex", _pick(("女", "男"), rng.choice(2, count)))


def _make_products(rng: np.random.Generator) -> pa.Table:
    numbers = np.arange(PRODUCT_COUNT)
    return _build(
        PRODUCTS.schema,
        {
            "product_id": _name("p", numbers),
            "department": _name("d", numbers % 20),
            "category": _name("g", numbers % 300),
            "brand": _name("b", numbers % 700),
            "price": pa.array(np.round(rng.lognormal(4, 1, PRODUCT_COUNT), 2)).cast(
                pa.decimal128(18, 2), safe=False
            ),
            "source": pa.repeat("generated", PRODUCT_COUNT),
        },
        PRODUCT_COUNT,
    )


def _make_consents(rng: np.random.Generator, count: int) -> pa.Table:
    since = datetime(2024, 12, 31, tzinfo=ZoneInfo(ZONE))
    parts = [
        _build(
            CONSENTS.schema,
            {
                "customer_id": _name("c", np.arange(count)),
                "channel": pa.repeat(channel, count),
                "purpose": pa.repeat("marketing", count),
                "allowed": pa.array(rng.random(count) < share),
                "since": pa.array([since], pa.timestamp("us", tz="UTC")).take(
                    pa.array(np.zeros(count, np.int64))
                ),
                "source": pa.repeat("generated", count),
            },
            count,
        )
        for channel, share in (("email", 0.8), ("sms", 0.6))
    ]
    return pa.concat_tables(parts)


def _make_events(rng: np.random.Generator, people: NDArray[np.int64], first: date, month: int) -> pa.Table:
    count = len(people)
    instants, days, _ = _make_moments(rng, count, first)
    products = np.minimum(rng.zipf(1.3, count) - 1, PRODUCT_COUNT - 1)
    return _build(
        EVENTS.schema,
        {
            "event_id": _number(month, "e", count),
            "customer_id": _name("c", people),
            "name": _pick(NAMES, rng.choice(len(NAMES), count, p=SHARES)),
            "occurred_at": instants,
            "occurred_on": days,
            "product_id": _name("p", products),
            "channel": _pick(CHANNELS, rng.choice(len(CHANNELS), count)),
            "source": pa.repeat("generated", count),
            "simulated": pa.repeat(True, count),
        },
        count,
    )


def _make_lines(rng: np.random.Generator, people: NDArray[np.int64], first: date, month: int) -> pa.Table:
    count = len(people)
    instants, days, hours = _make_moments(rng, count, first)
    cents = np.round(rng.lognormal(4, 1, count) * 100).astype(np.int64)
    returned = rng.random(count) < 0.03
    amounts = np.where(returned, -cents, cents) / 100
    return _build(
        ORDER_LINES.schema,
        {
            "line_id": _number(month, "l", count),
            "order_id": _number(month, "o", count),
            "customer_id": _name("c", people),
            "product_id": _name("p", np.minimum(rng.zipf(1.3, count) - 1, PRODUCT_COUNT - 1)),
            "ordered_at": instants,
            "ordered_on": days,
            "ordered_hour": pa.array(hours, pa.int64()),
            "quantity": pa.array(np.where(returned, -1.0, rng.integers(1, 4, count))),
            "revenue": pa.array(amounts).cast(pa.decimal128(18, 2), safe=False),
            "discount": pa.array(np.where(returned, 0.0, np.round(amounts * 0.1, 2))).cast(
                pa.decimal128(18, 2), safe=False
            ),
            "store_id": _name("s", rng.integers(0, 40, count)),
            "source": pa.repeat("generated", count),
            "simulated": pa.repeat(True, count),
        },
        count,
    )


def main() -> None:
    """Make the workspace of ``--scale`` and say what it took."""
    workspace, cost = measure(lambda: make_workspace(read_scale(str(__doc__).split("\n", 1)[0])))
    print(f"{workspace.path}: {cost.elapsed:.0f} s elapsed, {cost.cpu:.0f} s CPU")
    workspace.close()


if __name__ == "__main__":
    main()
