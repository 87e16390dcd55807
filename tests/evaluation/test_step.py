"""The step on the real engine: what was planted is found, kept once, and said honestly."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aimwell.core.errors import BadInput, NotReady
from aimwell.core.tables import TABLES
from aimwell.engine.workspace import Workspace
from aimwell.evaluation.kept import read_lessons, read_results
from aimwell.evaluation.step import evaluate
from tests.evaluation.world import END, START, Truth, World, make_workspace, write_plan


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Truth, dict[str, Any]]:
    workspace, truth = make_workspace(tmp_path_factory.mktemp("shop") / "w", World())
    return workspace, truth, evaluate(workspace, as_of=END).summary


def read(workspace: Workspace, sql: str) -> list[dict[str, Any]]:
    with workspace.read() as reader:
        rows: list[dict[str, Any]] = reader.query(sql).to_pylist()
    return rows


def find_numbers(value: object) -> list[float]:
    if isinstance(value, dict):
        return [number for inner in value.values() for number in find_numbers(inner)]
    if isinstance(value, list):
        return [number for inner in value for number in find_numbers(inner)]
    return [float(value)] if isinstance(value, int | float) else []


def test_intervals_hold_what_was_planted(shop: tuple[Workspace, Truth, dict[str, Any]]) -> None:
    _, truth, summary = shop
    planted = {
        "orders": truth.orders,
        "revenue": truth.revenue,
        "contribution": truth.contribution,
        "profit": truth.profit,
    }
    for name, value in planted.items():
        found = summary[f"incremental_{name}"]
        assert found["lower"] <= value <= found["upper"], name
    assert summary["cost"] == pytest.approx(truth.cost + truth.orders)
    assert summary["cuped"]["variance_removed"] > 0.3
    assert summary["simulated"] is True


def test_the_summary_is_plain_json_in_both_languages(shop: tuple[Workspace, Truth, dict[str, Any]]) -> None:
    summary = shop[2]
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert all(math.isfinite(number) for number in find_numbers(summary))
    assert summary["decision"]["sentence"]["en"] != summary["decision"]["sentence"]["zh"]
    for text in (*summary["lessons"], *summary["lacks"], *summary["decision"]["reasons"]):
        assert text["en"] and text["zh"] and text["en"] != text["zh"]


def test_profit_is_contribution_less_contacts_and_roi_agrees_with_it(
    shop: tuple[Workspace, Truth, dict[str, Any]],
) -> None:
    summary = shop[2]
    profit, contribution = summary["incremental_profit"], summary["incremental_contribution"]
    assert profit["estimate"] == pytest.approx(contribution["estimate"] - summary["contact_cost"])
    roi = summary["roi"]
    assert roi["estimate"] == pytest.approx(profit["estimate"] / summary["cost"])
    assert roi["proven"] == profit["proven"]
    assert (roi["lower"] > 0) == (profit["lower"] > 0)


def test_outcomes_cover_everybody_once(shop: tuple[Workspace, Truth, dict[str, Any]]) -> None:
    workspace, truth, _ = shop
    total = read(
        workspace, "SELECT COUNT(*) AS n, SUM(redeemed) AS redeemed, MIN(orders) AS least FROM outcomes"
    )[0]
    assert total == {"n": 900, "redeemed": truth.orders, "least": 0.0}
    line = read(
        workspace,
        """
        SELECT (SELECT SUM(revenue) FROM outcomes) AS kept, CAST(SUM(revenue) AS DOUBLE) AS sold
        FROM order_lines
        WHERE ordered_on >= DATE '2026-03-02' AND ordered_on < DATE '2026-03-30' AND customer_id <> 'other'
        """,
    )[0]
    assert line["kept"] == pytest.approx(line["sold"])


def test_evaluating_again_changes_nothing(shop: tuple[Workspace, Truth, dict[str, Any]]) -> None:
    workspace, _, first = shop
    tables = ("outcomes", "results", "lessons")
    count = "SELECT " + " + ".join(f"(SELECT COUNT(*) FROM {table})" for table in tables) + " AS n"
    before = read(workspace, count)
    assert evaluate(workspace, as_of=END).summary == first
    assert read(workspace, count) == before


def test_results_and_lessons_are_kept(shop: tuple[Workspace, Truth, dict[str, Any]]) -> None:
    workspace, _, summary = shop
    with workspace.read() as reader:
        rows, lessons = read_results(reader), read_lessons(reader)
    kept = {(row["metric"], row["segment"]): row for row in rows}
    assert kept["incremental_profit", "all"]["estimate"] == summary["incremental_profit"]["estimate"]
    assert ("contribution_per_customer", "tier:best_20") in kept
    assert ("incremental_profit", "action:fresh_20:email") in kept
    assert lessons[0]["action_id"] is None and lessons[0]["promised"] == 1500.0
    assert {row["action_id"] for row in lessons[1:]} == {"fresh_20:email", "fresh_20:call"}
    actions = sum(row["promised"] for row in lessons[1:])
    assert actions == pytest.approx(1500.0)


def test_few_buyers_are_said_with_what_is_needed(shop: tuple[Workspace, Truth, dict[str, Any]]) -> None:
    summary = shop[2]
    assert summary["expected_buyers"] < 400 < summary["needed_customers"]
    assert any("below 400" in text["en"] for text in summary["lacks"])
    assert "re-randomised" in summary["incremental_profit"]["method"]


def test_a_loss_is_a_no_go_and_a_gain_a_go(tmp_path: Path) -> None:
    strong = World(effect=200.0, response=0.6, history_days=60)
    workspace, truth = make_workspace(tmp_path / "gain", strong)
    summary = evaluate(workspace, as_of=END).summary
    assert summary["incremental_profit"]["lower"] > 0
    assert summary["decision"]["go"] and "Go:" in summary["decision"]["sentence"]["en"]
    assert summary["window"]["days_before"] == 60
    workspace, _ = make_workspace(tmp_path / "loss", World(effect=0.0, offer_cost=40.0, response=0.8))
    summary = evaluate(workspace, as_of=END).summary
    assert summary["incremental_profit"]["upper"] < 0
    assert not summary["decision"]["go"]
    assert summary["promise_verdict"] == "too_high"
    assert truth.profit > 0


def test_nothing_is_called_proven_when_nothing_was_done(tmp_path: Path) -> None:
    workspace, _ = make_workspace(
        tmp_path / "w", World(effect=0.0, response=0.0, sent=False, promised=0.0, seed=3)
    )
    summary = evaluate(workspace, as_of=END).summary
    assert summary["incremental_profit"]["proven"] is False
    assert "not proven" in summary["decision"]["reasons"][0]["en"]
    assert summary["roi"] is None and summary["promised"] is None and summary["promise_ratio"] is None
    assert any("No delivery" in text["en"] for text in summary["lacks"])


def test_lost_customers_are_a_no_go_whatever_the_profit(tmp_path: Path) -> None:
    workspace, _ = make_workspace(tmp_path / "w", World(effect=300.0, response=0.7))
    with workspace.run("strategy", as_of=START) as run:
        kept = run.query(
            "SELECT * FROM assignments WHERE NOT (arm = 'control' AND customer_id < 'c00400') ORDER BY customer_id"
        )
        run.replace("assignments", kept)
    summary = evaluate(workspace, as_of=END).summary
    assert summary["sample_ratio"]["ok"] is False
    assert summary["incremental_profit"]["lower"] > 0
    assert not summary["decision"]["go"]
    assert "not as they were drawn" in summary["decision"]["reasons"][0]["en"]


def test_contacted_controls_are_a_no_go(tmp_path: Path) -> None:
    workspace, _ = make_workspace(tmp_path / "w", World(effect=300.0, response=0.7, customers=300))
    with workspace.run("deployment", as_of=START) as run:
        wrong = run.query(
            """
            SELECT d.delivery_id || '-c' AS delivery_id, d.plan_id, a.customer_id, d.action_id, d.channel, d.state,
                   d.reason, d.attempts, d.unit_cost, d.finished_at, d.run_id
            FROM assignments AS a CROSS JOIN (SELECT * FROM deliveries ORDER BY delivery_id LIMIT 1) AS d
            WHERE a.arm = 'control'
            """
        )
        numbered = TABLES["deliveries"].build(
            [{**row, "delivery_id": f"x{index}"} for index, row in enumerate(wrong.to_pylist())]
        )
        run.append("deliveries", numbered)
    summary = evaluate(workspace, as_of=END).summary
    assert summary["sample_ratio"]["contaminated"] == summary["arms"]["control"]
    assert not summary["decision"]["go"]


def test_a_pilot_goes_on_when_its_best_action_is_likely_to_earn(tmp_path: Path) -> None:
    workspace, _ = make_workspace(
        tmp_path / "w", World(wave="pilot", effect=60.0, response=0.5, promised=0.0)
    )
    summary = evaluate(workspace, as_of=END).summary
    assert summary["decision"]["go"]
    assert "rollout" in summary["decision"]["sentence"]["en"]
    assert "Nothing was promised" in summary["lessons"][0]["en"]


@pytest.mark.parametrize(
    ("world", "words"),
    [
        (World(customers=3, seed=1), "None of the 3 customers can be compared"),
        (World(customers=9, control=0.2, holdout=0.0, seed=4), "at least 2 are needed"),
        (World(customers=80, control=0.0), "no stratum has customers in both"),
        (World(customers=80, control=0.0, holdout=0.999999), "no randomised customers"),
        (World(customers=60, spend=False, response=0.0, sent=False), "Nobody differs"),
    ],
)
def test_what_cannot_be_compared_is_said(tmp_path: Path, world: World, words: str) -> None:
    workspace, _ = make_workspace(tmp_path / "w", world)
    result = evaluate(workspace, as_of=END)
    assert result.status == "partial"
    assert words in result.lacks[0].render("en")
    assert result.summary["decision"]["go"] is False
    assert read(workspace, "SELECT COUNT(*) AS n FROM results")[0]["n"] == 0
    assert read(workspace, "SELECT COUNT(*) AS n FROM outcomes")[0]["n"] == world.customers


@pytest.mark.parametrize("seed", range(6))
def test_tiny_plans_give_finite_numbers(tmp_path: Path, seed: int) -> None:
    workspace, _ = make_workspace(tmp_path / "w", World(customers=14, control=0.4, seed=seed))
    result = evaluate(workspace, as_of=END)
    assert all(math.isfinite(number) for number in find_numbers(result.summary))
    assert result.lacks


def test_what_is_too_early_or_missing_is_skipped(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w", name="shop", zone="UTC", currency="USD")
    assert evaluate(workspace, as_of=END).status == "skipped"
    with workspace.read() as reader, pytest.raises(NotReady):
        read_results(reader)
    write_plan(workspace, World(customers=60))
    early = evaluate(workspace, as_of=END - timedelta(days=1))
    assert early.status == "skipped" and "ends on 2026-03-30" in early.lacks[0].render("en")
    with pytest.raises(BadInput) as unknown:
        evaluate(workspace, plan_id="plan_z", as_of=END)
    assert unknown.value.code == "evaluation.unknown_plan"
    with workspace.run("data", as_of=END) as run:
        run.replace(
            "order_lines", run.query("SELECT * FROM order_lines WHERE ordered_on < DATE '2026-03-02'")
        )
    late = evaluate(workspace, as_of=END)
    assert late.status == "skipped" and "No order of the plan's window" in late.lacks[0].render("en")


def test_plans_do_not_disturb_each_other(tmp_path: Path) -> None:
    workspace, _ = make_workspace(tmp_path / "w", World(customers=120))
    evaluate(workspace, as_of=END)
    write_plan(workspace, World(customers=90, plan_id="plan_b", seed=8))
    evaluate(workspace, plan_id="plan_b", as_of=END)
    evaluate(workspace, plan_id="plan_a", as_of=END)
    counts = read(workspace, "SELECT plan_id, COUNT(*) AS n FROM outcomes GROUP BY plan_id ORDER BY plan_id")
    assert counts == [{"plan_id": "plan_a", "n": 120}, {"plan_id": "plan_b", "n": 90}]


def test_the_holdout_shows_the_programme_when_it_was_chosen_alike(tmp_path: Path) -> None:
    workspace, truth = make_workspace(tmp_path / "w", World(effect=100.0, response=0.5, holdout=0.2))
    with workspace.run("strategy", as_of=START) as run:
        intended = run.query(
            """
            SELECT plan_id, customer_id, arm, COALESCE(action_id, 'fresh_20:email') AS action_id,
                   probability, stratum, run_id
            FROM assignments ORDER BY customer_id
            """
        )
        run.replace("assignments", intended)
    programme = evaluate(workspace, as_of=END).summary["programme"]
    found = programme["incremental_profit"]
    assert programme["n_programme"] + programme["n_holdout"] == 900
    assert found["lower"] <= truth.profit <= found["upper"]


def test_chances_that_differ_inside_a_stratum_are_weighted(tmp_path: Path) -> None:
    workspace, truth = make_workspace(tmp_path / "w", World(effect=100.0, response=0.5, customers=600))
    with workspace.run("strategy", as_of=START) as run:
        table = run.query(
            """
            SELECT plan_id, customer_id, arm, action_id,
                   CASE WHEN customer_id < 'c00300' THEN probability ELSE probability * 1.0001 END AS probability,
                   stratum, run_id
            FROM assignments ORDER BY customer_id
            """
        )
        run.replace("assignments", table)
    summary = evaluate(workspace, as_of=END).summary
    assert "inverse" in summary["method"]["en"]
    assert summary["incremental_profit"]["method"] == "inverse probability"
    assert summary["incremental_profit"]["lower"] <= truth.profit <= summary["incremental_profit"]["upper"]
