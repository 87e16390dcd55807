"""Redemptions that come in as events count once, whoever reads them and however often they are sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aimwell.data.event_intake import take_events
from aimwell.deployment.coupon_events import redeem_new
from aimwell.deployment.coupons import add_codes, count_pools, issue, open_pool
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
