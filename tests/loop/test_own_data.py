"""A user's own files, by the command line only: from an empty folder to a measured pilot and a planned rollout."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from aimwell.deployment.sink import Sink
from tests.loop.shop import FIRST, LAST, write_consents, write_members, write_orders

MEMBERS = 400
DATA = Path(__file__).parents[3] / "shared" / "data"


def call(*arguments: str | Path, code: int = 0, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Run ``aimwell … --json`` as a user would; no traceback may appear."""
    import os

    done = subprocess.run(
        [sys.executable, "-m", "aimwell", *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **(environment or {})},
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    assert done.returncode == code, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_from_files_to_a_measured_pilot(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    call("init", shop, "--name", "小店")
    lines = write_orders(tmp_path / "订单.csv", members=MEMBERS, start=FIRST, end=LAST)
    added = call("-w", shop, "data", "add", tmp_path / "订单.csv", "--as", "order_lines", "--yes")
    assert added["status"] == "done"
    alone = call("-w", shop, "round")
    assert alone["strategy"]["summary"]["chosen"] == 0
    assert alone["deployment"]["status"] == "skipped"

    write_members(tmp_path / "会员.csv", members=MEMBERS)
    write_consents(tmp_path / "consents.csv", members=MEMBERS)
    call("-w", shop, "data", "add", tmp_path / "会员.csv", "--as", "customers", "--yes")
    call("-w", shop, "data", "add", tmp_path / "consents.csv", "--as", "consents", "--yes")
    held = call("-w", shop, "round", "--budget", "500")
    assert held["data"]["summary"]["tables"]["order_lines"] == lines
    assert held["strategy"]["summary"]["chosen"] > 50
    assert held["strategy"]["summary"]["method"] == "randomised"
    assert held["deployment"]["status"] == "partial"
    assert held["evaluation"]["status"] == "skipped"

    with Sink(tmp_path / "mail") as sink:
        where = {"AIMWELL_SMTP__PORT": str(sink.port)}
        sent = call("-w", shop, "round", "--budget", "500", "--launch", environment=where)
        states = sent["deployment"]["summary"]["states"]
        by_channel = {row["channel"]: row["sent"] for row in sent["deployment"]["summary"]["by_channel"]}
        assert states["sent"] == sent["strategy"]["summary"]["arms"]["treatment"] > 30
        assert sink.count == by_channel["email"]
        again = call("-w", shop, "round", "--launch", environment=where)
        assert again["deployment"]["summary"]["states"] == states
        assert sink.count == by_channel["email"]
    assert "2026" in again["evaluation"]["lacks"][0]["en"]

    # Time passes: the orders of the window are delivered, and the pilot is measured.
    write_orders(tmp_path / "later.csv", members=MEMBERS, start=LAST, end=date(2026, 4, 5), seed=2)
    call("-w", shop, "data", "add", tmp_path / "later.csv", "--as", "order_lines", "--yes")
    measured = call("-w", shop, "round")
    assert measured["round"] == 1
    assert measured["wave"] == "pilot"
    profit = measured["evaluation"]["summary"]["incremental_profit"]
    assert profit["lower"] < profit["estimate"] < profit["upper"]
    assert measured["evaluation"]["summary"]["simulated"] is False
    following = call("-w", shop, "round")
    assert following["wave"] == "rollout"
    assert following["strategy"]["summary"]["gap"] <= 0.005
    page = call("-w", shop, "report", "--out", tmp_path / "report.html")
    assert Path(page["report"]).stat().st_size > 100_000
    known = call("-w", shop, "customer", "00001")
    assert "00001" in json.dumps(known)


def test_a_round_by_a_design_keeps_its_arms_and_days(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    call("init", shop)
    write_orders(tmp_path / "o.csv", members=MEMBERS, start=FIRST, end=LAST)
    write_members(tmp_path / "m.csv", members=MEMBERS)
    write_consents(tmp_path / "c.csv", members=MEMBERS)
    for file, table in (("o", "order_lines"), ("m", "customers"), ("c", "consents")):
        call("-w", shop, "data", "add", tmp_path / f"{file}.csv", "--as", table, "--yes")
    call("-w", shop, "strategy", "design", "--days", "14", "--save", "spring")
    plain = call("-w", shop, "round")
    assert plain["strategy"]["summary"]["design"] is None
    shown = call("-w", shop, "round", "--design", "spring")
    assert shown["strategy"]["summary"]["design"]["days"] == 14
    with Sink(tmp_path / "mail") as sink:
        where = {"AIMWELL_SMTP__PORT": str(sink.port)}
        sent = call("-w", shop, "round", "--launch", environment=where)
    assert sent["strategy"]["summary"]["design"]["name"] == "spring"
    assert sent["strategy"]["summary"]["arms"] == shown["strategy"]["summary"]["arms"]
    assert sum(sent["deployment"]["summary"]["states"].values()) > 0
    # The window is the design's: two weeks, not the usual four.
    write_orders(tmp_path / "later.csv", members=MEMBERS, start=LAST, end=LAST + timedelta(days=20), seed=2)
    call("-w", shop, "data", "add", tmp_path / "later.csv", "--as", "order_lines", "--yes")
    measured = call("-w", shop, "round")
    assert measured["evaluation"]["status"] in ("done", "partial")
    unknown = call("-w", shop, "round", "--design", "autumn", code=2)
    assert unknown["error"]["code"] == "strategy.unknown_design"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("round", "--budget", "-5"), "cli.bad_money"),
        (("round", "--as-of", "2026-02-30"), "cli.bad_day"),
        (("round", "--wave", "third"), "loop.unknown_wave"),
        (("customer", "nobody"), None),
        (("report",), "loop.no_round"),
        (("data", "add", "missing.csv", "--as", "order_lines", "--yes"), None),
        (("--language", "fr", "round"), "cli.unknown_language"),
    ],
)
def test_wrong_words_are_explained(tmp_path: Path, arguments: tuple[str, ...], code: str | None) -> None:
    call("init", tmp_path / "shop")
    answer = call("-w", tmp_path / "shop", *arguments, code=2)
    assert answer["error"]["message"]
    assert code is None or answer["error"]["code"] == code


def test_an_empty_workspace_says_what_every_step_lacks(tmp_path: Path) -> None:
    call("init", tmp_path / "shop")
    answer = call("-w", tmp_path / "shop", "round")
    for step in ("goals", "data", "analysis", "models", "strategy"):
        assert answer[step]["lacks"], step


def test_three_customers_and_no_budget_run_through(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    call("init", shop)
    write_orders(tmp_path / "o.csv", members=3, start=FIRST, end=LAST)
    write_members(tmp_path / "m.csv", members=3)
    write_consents(tmp_path / "c.csv", members=3)
    for file, table in (("o", "order_lines"), ("m", "customers"), ("c", "consents")):
        call("-w", shop, "data", "add", tmp_path / f"{file}.csv", "--as", table, "--yes")
    answer = call("-w", shop, "round")
    assert answer["strategy"]["lacks"]
    broke = call("-w", shop, "round", "--budget", "0")
    assert broke["strategy"]["summary"]["chosen"] == 0


@pytest.mark.parametrize(
    "file", ["online_retail/online_retail_2010_2011.parquet", "groceries_member/Groceries_dataset.csv"]
)
def test_public_order_files_run_without_code(tmp_path: Path, file: str) -> None:
    if not (DATA / file).exists():
        pytest.skip(f"{DATA / file} is not here")
    call("init", tmp_path / "shop")
    call("-w", tmp_path / "shop", "data", "add", DATA / file, "--as", "order_lines", "--yes")
    answer = call("-w", tmp_path / "shop", "round")
    assert answer["analysis"]["summary"]["customers"] > 3000
    assert answer["models"]["status"] in ("done", "partial")
    assert answer["data"]["lacks"]
