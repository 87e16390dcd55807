"""Hillstrom's e-mail experiment as a user takes it in: customers, three arms, real outcomes; then the plan.

The public file has neither e-mail addresses nor consents: the test gives every customer both, since all of them were on
the mailing list. 64,000 customers; skips where the shared data sets are not at hand.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.analysis.event_logs import SHARED

HILLSTROM = SHARED / "hillstrom" / "hillstrom.csv"
TRAITS = ("recency", "history", "mens", "womens", "zip_code", "newbie", "channel")
DAY = "2008-03-20"


def read(folder: Path, *words: str) -> dict[str, Any]:
    environment = {**os.environ, "AIMWELL_LANGUAGE": "en", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "aimwell", "-w", str(folder), "--json", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def learn(folder: Path, outcome: str, *words: str) -> dict[str, Any]:
    actions = [part for arm in ("Mens E-Mail", "Womens E-Mail") for part in ("--action", f"{arm}=email")]
    traits = [part for trait in TRAITS for part in ("--trait", trait)]
    asked = ["models", "experiment", "--arm", "segment", "--control", "No E-Mail", "--outcome", outcome]
    found: dict[str, Any] = read(folder, *asked, *actions, *traits, "--as-of", DAY, *words)["summary"]
    return found


@pytest.fixture(scope="module")
def hillstrom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not HILLSTROM.exists():
        pytest.skip("the shared data sets are not at hand")
    folder = tmp_path_factory.mktemp("hillstrom")
    with HILLSTROM.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    with (folder / "customers.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["customer_id", "email", *rows[0]])
        writer.writerows([f"h{n}", f"h{n}@example.com", *row.values()] for n, row in enumerate(rows))
    with (folder / "consents.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["customer_id", "channel", "purpose", "allowed", "since"])
        writer.writerows([f"h{n}", "email", "marketing", "true", "2008-01-01"] for n in range(len(rows)))
    shop = folder / "shop"
    command = [sys.executable, "-m", "aimwell", "init", str(shop), "--zone", "UTC", "--currency", "USD"]
    assert subprocess.run(command, capture_output=True, timeout=300).returncode == 0
    for table in ("customers", "consents"):
        read(shop, "data", "add", str(folder / f"{table}.csv"), "--as", table, "--yes")
    return shop


@pytest.mark.slow
def test_on_visits_the_guarded_choice_is_not_below_mens_mail_to_all(hillstrom: Path) -> None:
    found = learn(hillstrom, "visit", "--worth", "1")
    assert found["customers"] == 64_000
    assert found["guard"]["single"]["en"] == "Mens E-Mail"
    assert found["value"]["difference"]["upper"] >= 0
    effects = {row["title"]["en"]: row["effect"] for row in found["actions"]}
    # The published effects: 7.66 and 4.52 percentage points.
    assert effects["Mens E-Mail"]["lower"] < 0.0766 < effects["Mens E-Mail"]["upper"]
    assert effects["Womens E-Mail"]["lower"] < 0.0452 < effects["Womens E-Mail"]["upper"]


@pytest.mark.slow
def test_on_spend_personalising_is_not_proven_and_the_plan_says_so(hillstrom: Path) -> None:
    found = learn(hillstrom, "spend", "--worth", "1")
    assert not found["guard"]["proven"]
    assert "not proven" in found["guard"]["sentence"]["en"]
    assert found["value"]["difference"]["upper"] >= 0
    effects = {row["title"]["en"]: row["effect"] for row in found["actions"]}
    assert effects["Mens E-Mail"]["lower"] < 0.770 < effects["Mens E-Mail"]["upper"]
    plan = read(hillstrom, "strategy", "plan", "--budget", "400", "--as-of", DAY)["summary"]
    assert plan["cost"] <= 400
    assert plan["gap"] <= 0.001
    chosen = {row["title"]["en"]: row["chosen"] for row in plan["by_action"]}
    # All but the tenth that explores get the men's mail.
    assert chosen["Mens E-Mail"] >= 0.85 * plan["chosen"]
    points = read(hillstrom, "strategy", "frontier", "--budget", "400")
    profits = [point["profit"] for point in points["frontier"]]
    assert all(later >= earlier * 0.999 for earlier, later in pairwise(profits))
    explained = read(hillstrom, "strategy", "explain", "h5", "--budget", "400")
    assert {row["title"]["en"] for row in explained["actions"]} == {"Mens E-Mail", "Womens E-Mail"}
    compared = read(
        hillstrom, "strategy", "compare", "--base", "400", "--budget", "x1.2", "--minimum", "email=70000"
    )
    base, more, impossible = compared["scenarios"]
    assert more["difference"]["lower"] > 0
    assert more["chosen"] > base["chosen"]
    assert not impossible["possible"]
