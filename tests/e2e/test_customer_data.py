"""Customer data on the command line, as people see it: quality, catalogue, preview, funnel, cohort and one customer.

On Complete Journey and on Taobao's behaviour log (no orders), in both languages.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.analysis.complete_journey import load_complete_journey, make_workspace
from tests.analysis.event_logs import SHARED

TAOBAO = SHARED / "taobao_userbehavior" / "UserBehavior.csv"
HEADER = "user_id,item_id,category_id,behavior,timestamp"
CHINESE = re.compile("[\u4e00-\u9fff]")


def run(folder: Path, *words: str, language: str = "en", columns: int = 100) -> str:
    environment = {**os.environ, "AIMWELL_LANGUAGE": language, "COLUMNS": str(columns), "NO_COLOR": "1"}
    command = [sys.executable, "-m", "aimwell", "-w", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done.stdout


def read(folder: Path, *words: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(run(folder, *words, "--json"))
    return answer


def see_both(folder: Path, *words: str) -> tuple[str, str]:
    """What the command prints in English and in Chinese; the latter has Chinese words, the former none."""
    english, chinese = (run(folder, *words, language=language) for language in ("en", "zh"))
    assert CHINESE.search(chinese), chinese
    assert not CHINESE.search(english), english
    return english, chinese


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("journey") / "journey"
    workspace = make_workspace(folder)
    load_complete_journey(workspace, date(2018, 1, 2))
    workspace.close()
    run(folder, "analysis", "run")
    return folder


@pytest.fixture(scope="module")
def taobao(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not TAOBAO.exists():
        pytest.skip("the shared data sets are not at hand")
    folder = tmp_path_factory.mktemp("taobao") / "taobao"
    run(folder.parent, "init", str(folder), "--zone", "Asia/Shanghai")
    run(folder, "data", "add", str(TAOBAO), "--as", "events", "--header", HEADER, "--yes")
    run(folder, "analysis", "run")
    return folder


@pytest.mark.slow
def test_the_behaviour_log_is_taken_in_with_its_quality(taobao: Path) -> None:
    assert "84,475" in run(taobao, "data", "tables")
    see_both(taobao, "data", "quality", "--all")


@pytest.mark.slow
def test_the_catalogue_and_a_preview(journey: Path, taobao: Path) -> None:
    for folder in (journey, taobao):
        catalogue = read(folder, "analysis", "tags")
        assert catalogue["count"] >= 48
        see_both(folder, "analysis", "tags")
        see_both(folder, "analysis", "segments")
    rule = "recency_days <= 30 and orders_90d >= 3"
    found = read(journey, "analysis", "segment", "preview", "--rule", rule)
    assert 500 < found["size"] < 2_469
    assert (
        f"{found['size']:,}".replace(",", "")
        in see_both(journey, "analysis", "segment", "preview", "--rule", rule)[0]
    )


@pytest.mark.slow
def test_the_funnel_of_a_behaviour_log(taobao: Path) -> None:
    # Taobao's codes pv, fav, cart and buy have Segment's names by now.
    names = ("Product Viewed", "Product Added to Wishlist", "Product Added", "Order Completed")
    words = ("analysis", "funnel", *(word for name in names for word in ("--step", name)))
    found = read(taobao, *words)
    counts = [row["customers"] for row in found["steps"]]
    assert counts == sorted(counts, reverse=True)
    assert (counts[0], counts[3]) == (813, 113)
    english, chinese = see_both(taobao, *words)
    assert "13.9%" in english
    assert "13.9%" in chinese
    assert "中位用时" in chinese


@pytest.mark.slow
def test_a_funnel_into_orders(journey: Path) -> None:
    words = (
        "analysis",
        "funnel",
        "--step",
        "Coupon Redeemed",
        "--step",
        "orders[revenue >= 50]",
        "--within",
        "14d",
    )
    english, _ = see_both(journey, *words)
    assert "87.3%" in english


@pytest.mark.slow
def test_who_comes_back(journey: Path, taobao: Path) -> None:
    months = read(journey, "analysis", "cohort", "--period", "month")
    assert months["cohorts"][0]["customers"] == 1_982
    assert months["cohorts"][-1]["label"] == "2017-12-01"
    # January 2018 has hardly begun: it is unknown, not 0.
    assert len(months["cohorts"][-1]["cells"]) == 1
    assert "88.8%" in see_both(journey, "analysis", "cohort", "--period", "month")[0]
    assert (
        "77.5%" in see_both(taobao, "analysis", "cohort", "--begin", "Product Viewed", "--period", "day")[0]
    )


@pytest.mark.slow
def test_the_map_and_the_flows(journey: Path) -> None:
    found = read(journey, "analysis", "rfm")
    assert sum(area["customers"] for area in found["areas"]) == found["customers"]
    see_both(journey, "analysis", "rfm")
    flows = read(journey, "analysis", "flows", "--from", "2017-10-01", "--movers", "active:declining")
    assert sum(flows["from"].values()) == sum(flows["to"].values()) == 2_469
    see_both(journey, "analysis", "flows", "--from", "2017-10-01")


@pytest.mark.slow
def test_without_orders_the_map_and_the_flows_are_by_activity(taobao: Path) -> None:
    found = read(taobao, "analysis", "rfm")
    assert (found["by"], found["breadth_of"], found["days"]) == ("activity", "products", 13)
    assert found["customers"] == sum(cell["customers"] for cell in found["cells"]) == 815
    assert found["events"] == 84_475
    assert {cell["r"] for cell in found["cells"]} == {1, 2, 3, 4, 5}
    english, chinese = see_both(taobao, "analysis", "rfm")
    assert "By activity" in english
    assert "Revenue" not in english
    assert "按活跃度" in chinese
    words = ("analysis", "flows", "--from", "2017-11-28", "--movers", "new:new")
    flows = read(taobao, *words)
    assert flows["stake"] == "events"
    assert sum(flows["from"].values()) == sum(flows["to"].values()) == 815
    assert flows["movers"][0]["events"] > 0
    english, chinese = see_both(taobao, *words)
    assert "Grew quieter" in english
    assert "趋于沉寂" in chinese


@pytest.mark.slow
def test_one_customer(journey: Path, taobao: Path) -> None:
    page = read(journey, "customer", "1")
    assert len(page["timeline"]) == 50
    assert page["timeline"][0]["at"] >= page["timeline"][-1]["at"]
    assert page["next"]["why"]["zh"]
    see_both(journey, "customer", "1")
    quiet = read(taobao, "customer", "1")
    assert quiet["orders"] == []
    assert {row["what"] for row in quiet["timeline"]} <= {
        "Product Viewed",
        "Product Added",
        "Product Added to Wishlist",
        "Order Completed",
    }
    english, chinese = see_both(taobao, "customer", "1")
    assert "Product Viewed" in english
    assert "下一步" in chinese
