"""Codes of a log become Segment's names: proposed, told, remembered, and refused where a person wants the codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from aimwell.core.errors import BadInput
from aimwell.data.step import add_source, propose
from aimwell.engine.workspace import Workspace
from tests.data.shop import count, make_workspace, query, write

LOG = "user_id,item_id,behavior,timestamp\n1,7,pv,1511544070\n1,7,CART,1511544071\n1,7,fav,1511544072\n"
LOG += "1,7,buy,1511544073\n"


def names(workspace: Workspace) -> list[object]:
    return [row["name"] for row in query(workspace, "SELECT name FROM events ORDER BY occurred_at")]


def test_codes_are_proposed_and_told_as_segments_names(tmp_path: Path) -> None:
    shop, log = make_workspace(tmp_path), write(tmp_path, LOG, name="log.csv")
    asked = propose(shop, log)
    match = asked.get("vocabulary")
    assert match is not None
    assert match.constant == "taobao"
    assert "pv → Product Viewed" in str(match.reason)
    assert add_source(shop, log).status == "skipped"
    done = add_source(shop, log, accept=True)
    assert any("Product Added to Wishlist" in notice["en"] for notice in done.summary["notices"])
    assert names(shop) == ["Product Viewed", "Product Added", "Product Added to Wishlist", "Order Completed"]
    assert add_source(shop, log).summary["unchanged"]
    more = write(tmp_path, LOG.replace("15115", "15116"), name="log.csv")
    assert add_source(shop, more).status == "done"
    assert names(shop)[4:] == names(shop)[:4]


def test_codes_can_be_kept(tmp_path: Path) -> None:
    shop, log = make_workspace(tmp_path), write(tmp_path, LOG, name="log.csv")
    add_source(shop, log, mapping={"vocabulary": ""}, accept=True)
    assert names(shop) == ["pv", "CART", "fav", "buy"]
    # The answer is remembered: the same file changes nothing.
    add_source(shop, log, accept=True)
    assert count(shop, "events") == 4
    with pytest.raises(BadInput, match="vocabulary"):
        add_source(shop, log, mapping={"vocabulary": "=other"}, accept=True)


def test_other_names_stay(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    log = write(tmp_path, LOG.replace("fav", "Coupon Received"), name="log.csv")
    add_source(shop, log, accept=True)
    assert names(shop) == ["pv", "CART", "Coupon Received", "buy"]
