"""Redemptions that come in as events count once, whoever reads them and however often they are sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from aimwell.core.tables import TABLES
from aimwell.data.event_intake import take_events
from aimwell.data.step import load_tables
from aimwell.deployment.coupon_codes import make_code
from aimwell.deployment.coupon_events import redeem_loaded, redeem_new
from aimwell.deployment.coupons import add_codes, count_pools, issue, open_pool, redeem
from aimwell.engine.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace.create(tmp_path / "shop", name="Shop")
    yield made
    made.close()


def say_redeemed(code: str, message: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "track",
        "event": "Coupon Redeemed",
        "userId": "c1",
        "messageId": message,
        "properties": {"code": code, **more},
    }


def test_events_redeem_once(workspace: Workspace) -> None:
    take_events(workspace, [say_redeemed("AAA1", "m0")])
    assert redeem_new(workspace.store) == {}
    with workspace.store.begin() as connection:
        open_pool(connection, "p", 0)
        add_codes(connection, "p", ["AAA1", "BBB2", "CCC3"])
        for delivery in ("d1", "d2"):
            assert issue(connection, "p", delivery, "c1", 1)
    # What came in before is still there, and belongs to a code that is issued by now.
    assert redeem_new(workspace.store) == {"redeemed": 1}
    assert redeem_new(workspace.store) == {}
    take_events(
        workspace, [say_redeemed("AAA1", "m0"), say_redeemed("bbb 2", "m1"), say_redeemed("BBB2", "m2")]
    )
    take_events(workspace, [say_redeemed("CCC3", "m3"), say_redeemed("none", "m4"), say_redeemed("", "m5")])
    take_events(workspace, [{"type": "track", "event": "Product Viewed", "userId": "c1", "messageId": "m6"}])
    assert redeem_new(workspace.store) == {
        "redeemed": 1,
        "repeated": 1,
        "not_issued": 1,
        "unknown": 1,
        "no_code": 1,
    }
    assert redeem_new(workspace.store) == {}
    with workspace.store.snapshot() as connection:
        row = count_pools(connection, 2)[0]
    assert (row.total, row.free, row.issued, row.redeemed) == (3, 1, 0, 2)


DAY = date(2026, 1, 5)


def fill_pool(workspace: Workspace, *codes: str) -> None:
    with workspace.store.begin() as connection:
        open_pool(connection, "p", 0)
        add_codes(connection, "p", codes)
        for number in range(len(codes)):
            assert issue(connection, "p", f"d{number}", "c1", 1)


def build_events(*rows: tuple[str, str, dict[str, Any] | str]) -> pa.Table:
    """Rows of ``events``: id, name, properties."""
    return TABLES["events"].build(
        [
            {
                "event_id": event,
                "customer_id": "c1",
                "name": name,
                "occurred_at": datetime(2026, 1, 5, 4, number, tzinfo=UTC),
                "occurred_on": DAY,
                "properties": said if isinstance(said, str) else json.dumps(said),
                "source": "till",
                "simulated": False,
            }
            for number, (event, name, said) in enumerate(rows)
        ]
    )


def count_redeemed(workspace: Workspace) -> int:
    with workspace.store.snapshot() as connection:
        return count_pools(connection, 2)[0].redeemed


def test_what_was_loaded_redeems_once(workspace: Workspace) -> None:
    rows = build_events(
        ("e1", "Coupon Redeemed", {"code": "AAA1"}),
        ("e2", "Order Completed", {"order_id": "7", "coupon": "bbb-2", "total": 9}),
        # The same order says so itself; another one comes too late; one names a code of its own, which is no coupon.
        ("e3", "Coupon Redeemed", {"order_id": 7, "coupon_code": "BBB2"}),
        ("e4", "Order Completed", {"order_id": "8", "coupon": "BBB2"}),
        ("e5", "Order Completed", {"order_id": "9", "code": "CCC3"}),
        ("e6", "Order Completed", {"order_id": "10", "coupon": ["CCC3"]}),
        ("e7", "Product Viewed", {"coupon": "CCC3"}),
        ("e8", "Coupon Redeemed", "no JSON with a coupon"),
    )
    load_tables(workspace, "till", {"events": rows}, as_of=date(2026, 2, 1))
    assert redeem_loaded(workspace) == {}  # there is no coupon yet
    fill_pool(workspace, "AAA1", "BBB2", "CCC3")
    assert redeem_loaded(workspace) == {"redeemed": 3, "repeated": 1, "no_code": 1}
    assert redeem_loaded(workspace) == {}
    assert count_redeemed(workspace) == 2
    # Another process begins with all that there is, and changes nothing; a further load is looked through at once.
    other = Workspace.open(workspace.path)
    assert redeem_loaded(other)["redeemed"] == 3 and count_redeemed(workspace) == 2
    late = build_events(("e9", "Order Completed", {"order_id": "11", "coupon_code": "CCC3"}))
    load_tables(workspace, "late", {"events": late}, as_of=date(2026, 2, 1))
    assert redeem_loaded(other)["redeemed"] == 4 and count_redeemed(workspace) == 3
    other.close()


def test_an_order_that_comes_as_message_and_in_a_table_redeems_once(workspace: Workspace) -> None:
    fill_pool(workspace, "AAA1", "BBB2")
    said = {"order_id": "7", "coupon": "AAA1", "products": [{"product_id": "p1", "price": 9, "quantity": 1}]}
    order = {
        "type": "track",
        "event": "Order Completed",
        "userId": "c1",
        "messageId": "m1",
        "properties": said,
    }
    take_events(workspace, [order])
    assert redeem_new(workspace.store) == {"redeemed": 1}
    load_tables(
        workspace, "till", {"events": build_events(("e1", "Order Completed", said))}, as_of=date(2026, 2, 1)
    )
    assert redeem_loaded(workspace).keys() == {"redeemed"} and count_redeemed(workspace) == 1
    with workspace.store.begin() as connection:
        # The till says it again, by the order's number.
        assert redeem(connection, "AAA1", 3, by="7") == "redeemed"
        assert redeem(connection, "AAA1", 3, by="8") == "repeated"


def test_a_mistyped_code_is_told_from_one_that_is_not_ours(workspace: Workspace) -> None:
    code = make_code()
    wrong = code[:3] + ("A" if code[3] != "A" else "C") + code[4:]
    fill_pool(workspace, code, "SPRING10OFFX")
    with workspace.store.begin() as connection:
        assert redeem(connection, wrong, 2, by="o1") == "mistyped"
        assert redeem(connection, make_code(), 2, by="o1") == "unknown"
        assert redeem(connection, "SUMMER", 2, by="o1") == "unknown"
        # A code of somebody else counts, whatever its last sign is.
        assert redeem(connection, "spring10offx", 2, by="o1") == "redeemed"
        assert redeem(connection, code.lower(), 2, by="o2") == "redeemed"
