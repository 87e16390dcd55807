"""The room on real files, where they are at hand (the repository's sibling ``shared/data``)."""

from __future__ import annotations

from pathlib import Path

import pytest

from aimwell.core.errors import BadInput
from aimwell.data.step import add_source
from tests.data.shop import SHARED, count, make_workspace

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not at hand")


def test_groceries_with_members(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    path = SHARED / "groceries_member" / "Groceries_dataset.csv"
    result = add_source(shop, path, table="order_lines", accept=True)
    assert (result.summary["rows"], result.summary["rejected"]) == (38_765, 0)
    assert count(shop, "customers") == 3_898


def test_cdnow(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    path = SHARED / "cdnow" / "CDNOW_master.txt"
    result = add_source(shop, path, table="order_lines", accept=True, duplicates="keep")
    assert result.summary["accepted"] == 69_659
    assert count(shop, "customers") == 23_570


def test_taobao_has_no_header_and_a_cut_line(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    path = SHARED / "taobao_userbehavior" / "UserBehavior.csv"
    with pytest.raises(BadInput, match="--header"):
        add_source(shop, path, table="events", accept=True)
    header = ("user_id", "item_id", "category_id", "behavior", "timestamp")
    result = add_source(shop, path, table="events", header=header, accept=True)
    assert result.summary["reasons"] == {"too_few_columns": 1}
    assert count(shop, "events") == 84_475


def test_coupons_need_a_name_and_telco_gives_attributes(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    path = SHARED / "o2o_coupon" / "ccf_offline_stage1_test_revised.csv"
    with pytest.raises(BadInput, match="Coupon Received"):
        add_source(shop, path, table="events", accept=True)
    telco = SHARED / "telco_churn" / "Telco-Customer-Churn.csv"
    assert add_source(shop, telco, table="customers", accept=True).summary["accepted"] == 7_043
