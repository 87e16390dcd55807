"""A designed test on the real engine: looked at when planned, once each, decided by its rule, and guarded."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from aimwell.cli.app import app
from aimwell.core.errors import Conflict
from aimwell.core.steps import StepResult
from aimwell.core.tables import PLAN_DESIGNS
from aimwell.engine.workspace import Workspace
from aimwell.evaluation.step import evaluate
from aimwell.goals.test_rule import GuardRule, TestRule
from aimwell.stats.sequential import find_limits, space_looks
from tests.evaluation.world import END, START, World, make_workspace


def make_rule(
    metric: str = "profit_per_customer", *, guards: tuple[str, ...] = (), **changes: Any
) -> TestRule:
    times = space_looks(4)
    fields: dict[str, Any] = {
        "design": "spring",
        "version": 1,
        "metric": metric,
        "target": 0.05,
        "days": 28,
        "needed": 5000,
        "arms": {"control": 0.25, "treatment": 0.75},
        "strata": None,
        "cluster": None,
        "segment": None,
        "salt": "s",
        "shape": "obrien_fleming",
        "times": times,
        "limits": find_limits(times),
        "alpha": 0.05,
        "guards": tuple(GuardRule(name, 0.1) for name in guards),
    }
    return TestRule(**{**fields, **changes})


def make_test(folder: Path, world: World, rule: TestRule) -> Workspace:
    workspace, _ = make_workspace(folder, world)
    with workspace.run("strategy", as_of=START) as run:
        run.append("plan_designs", PLAN_DESIGNS.build([{**rule.to_row(world.plan_id), "run_id": run.id}]))
    return workspace


def read(workspace: Workspace, sql: str) -> list[dict[str, Any]]:
    with workspace.read() as reader:
        rows: list[dict[str, Any]] = reader.query(sql).to_pylist()
    return rows


def look(workspace: Workspace, day: int) -> StepResult:
    return evaluate(workspace, plan_id="plan_a", as_of=START + timedelta(days=day))


STRONG = World(effect=200.0, response=0.6, history_days=60)
NONE = World(effect=0.0, response=0.0, offer_cost=0.0, history_days=60)


def test_between_planned_days_it_is_too_early_and_no_error_is_spent(tmp_path: Path) -> None:
    workspace = make_test(tmp_path / "w", NONE, make_rule())
    for day in (0, 3, 6):
        result = look(workspace, day)
        assert result.status == "partial" and not result.lacks
        sentence = result.summary["decision"]["sentence"]
        assert "Too early to decide" in sentence["en"] and "2026-03-09" in sentence["en"]
        assert "5,000" in sentence["en"] and sentence["zh"] != sentence["en"]
        assert not result.summary["decision"]["go"]
    assert read(workspace, "SELECT * FROM looks") == []
    first = look(workspace, 8).summary
    assert [row["looked_on"] for row in first["test"]["looks"]] == ["2026-03-10"]
    assert first["test"]["next_look"] == "2026-03-16"
    again = look(workspace, 8).summary
    later = look(workspace, 12).summary
    assert again["test"] == first["test"] == later["test"]
    (row,) = read(workspace, "SELECT information, spent, verdict, look FROM looks")
    assert row["information"] == pytest.approx(8 / 28) and row["spent"] < 0.001
    assert (row["verdict"], row["look"]) == ("continue", 1)
    assert read(workspace, "SELECT * FROM results") == read(workspace, "SELECT * FROM lessons") == []


def test_a_strong_effect_stops_early_and_the_verdict_stands_at_the_end(tmp_path: Path) -> None:
    workspace = make_test(tmp_path / "w", STRONG, make_rule())
    results = [look(workspace, day) for day in (7, 14, 21)]
    stopped = [result for result in results if result.summary["decision"]["go"]]
    assert stopped and "Go: " in stopped[0].summary["decision"]["sentence"]["en"]
    taken = len(stopped[0].summary["test"]["looks"])
    end = evaluate(workspace, plan_id="plan_a", as_of=END)
    assert end.summary["decision"]["go"] and end.summary["test"]["over"]
    assert len(end.summary["test"]["looks"]) == taken
    assert end.summary["incremental_profit"]["lower"] > 0
    assert {row["look"] for row in read(workspace, "SELECT look FROM results")} == {taken}
    assert read(workspace, "SELECT COUNT(*) AS n FROM lessons")[0]["n"] == 3
    assert json.loads(json.dumps(end.summary, allow_nan=False)) == end.summary
    assert evaluate(workspace, plan_id="plan_a", as_of=END).summary == end.summary


def test_without_an_effect_the_last_look_ends_the_test(tmp_path: Path) -> None:
    workspace = make_test(tmp_path / "w", NONE.with_(sent=True, seed=4), make_rule())
    look(workspace, 14)
    end = evaluate(workspace, plan_id="plan_a", as_of=END).summary
    assert end["decision"]["sentence"]["en"].startswith("No-go")
    assert [row["information"] for row in end["test"]["looks"]] == [0.5, 1.0]
    assert "Fixed before launch" in end["decision"]["rule"]["en"]
    assert end["test"]["looks"][-1]["spent"] == pytest.approx(0.05, abs=1e-6)


def test_harm_to_a_guard_stops_the_test(tmp_path: Path) -> None:
    # Orders go up, each at a loss: margin is the guard.
    world = World(effect=1.0, response=0.8, offer_cost=40.0, history_days=60)
    rule = make_rule("orders_per_customer", guards=("profit_per_customer",))
    workspace = make_test(tmp_path / "w", world, rule)
    found = [look(workspace, day).summary for day in (7, 14, 21)][-1]
    sentence = found["decision"]["sentence"]["en"]
    assert sentence.startswith("No-go: the guard Margin per customer") and not found["decision"]["go"]
    verdicts = {(row["metric"], row["role"]): row["verdict"] for row in found["test"]["looks"]}
    assert verdicts["profit_per_customer", "guard"] == "harm"
    end = evaluate(workspace, plan_id="plan_a", as_of=END).summary
    assert not end["decision"]["go"] and "guard" in end["decision"]["sentence"]["en"]


def test_kpis_beyond_orders_and_money_are_measured(tmp_path: Path) -> None:
    world = World(effect=50.0, response=0.7, history_days=60)
    rule = make_rule("active_rate", guards=("retention_rate", "repeat_rate"))
    workspace = make_test(tmp_path / "w", world, rule)
    with workspace.run("data", as_of=START) as run:
        names = run.query("SELECT DISTINCT customer_id FROM assignments ORDER BY customer_id")["customer_id"]
        sources = pa.array(["test"] * len(names))
        run.append("customers", pa.table({"customer_id": names, "source": sources}))
    found = evaluate(workspace, plan_id="plan_a", as_of=END).summary
    looks = {row["metric"]: row for row in found["test"]["looks"]}
    assert looks["active_rate"]["verdict"] == "effect" and found["decision"]["go"]
    assert 0 < looks["active_rate"]["level"] < 1
    # Retention is about those who bought before: fewer customers.
    sizes = {name: row["n_treatment"] + row["n_control"] for name, row in looks.items()}
    assert sizes["retention_rate"] < sizes["active_rate"] == sizes["repeat_rate"]


def test_a_rule_that_was_changed_after_launch_is_refused(tmp_path: Path) -> None:
    workspace = make_test(tmp_path / "w", NONE, make_rule())
    row = make_rule(alpha=0.2).to_row("plan_a")
    kept = make_rule().to_row("plan_a")["fingerprint"]
    with workspace.run("strategy", as_of=START) as run:
        changed = PLAN_DESIGNS.build([{**row, "fingerprint": kept, "run_id": run.id}])
        run.put("plan_designs", changed, column="plan_id", value="plan_a")
    with pytest.raises(Conflict) as refused:
        look(workspace, 7)
    assert refused.value.code == "goals.rule_changed" and refused.value.remedy is not None


def test_nothing_is_looked_at_before_it_was_sent_or_when_arms_are_broken(tmp_path: Path) -> None:
    unsent = make_test(tmp_path / "unsent", NONE.with_(sent=False), make_rule())
    result = look(unsent, 7)
    assert "recorded as sent" in result.lacks[0].render("en")
    assert read(unsent, "SELECT * FROM looks") == []
    broken = make_test(tmp_path / "broken", NONE, make_rule())
    with broken.run("strategy", as_of=START) as run:
        kept = run.query("SELECT * FROM assignments WHERE arm <> 'control' OR customer_id < 'c00300'")
        run.replace("assignments", kept)
    assert "cannot be believed" in look(broken, 7).summary["decision"]["sentence"]["en"]
    assert read(broken, "SELECT * FROM looks") == []


def test_orders_that_are_missing_put_the_look_off(tmp_path: Path) -> None:
    workspace = make_test(tmp_path / "w", NONE, make_rule())
    with workspace.run("data", as_of=START) as run:
        run.replace(
            "order_lines", run.query("SELECT * FROM order_lines WHERE ordered_on < DATE '2026-03-06'")
        )
    assert "Too early" in look(workspace, 14).summary["decision"]["sentence"]["en"]
    end = evaluate(workspace, plan_id="plan_a", as_of=END)
    assert "Too early" in end.summary["decision"]["sentence"]["en"]
    assert any("Orders are known up to" in text.render("en") for text in end.lacks)
    assert read(workspace, "SELECT * FROM looks") == []


def test_whole_stores_are_compared_as_stores(tmp_path: Path) -> None:
    workspace = make_test(tmp_path / "w", NONE, make_rule())
    draw_stores(workspace, 30)
    found = evaluate(workspace, plan_id="plan_a", as_of=END).summary
    assert "drawn as a whole" in found["method"]["en"]
    assert "CR2" in found["incremental_profit"]["method"]
    counted = found["sample_ratio"]["observed"]
    assert counted["treatment"] + counted["control"] == 30
    assert found["test"]["over"]


def draw_stores(workspace: Workspace, stores: int) -> None:
    """Make every customer one of a store, and every store wholly treated or wholly control."""
    sql = f"""
    SELECT plan_id, customer_id,
        CASE WHEN arm = 'holdout' THEN arm WHEN number % 4 = 0 THEN 'control' ELSE 'treatment' END AS arm,
        action_id,
        CASE WHEN arm = 'holdout' THEN probability WHEN number % 4 = 0 THEN 0.225 ELSE 0.675 END AS probability,
        'all' AS stratum,
        CASE WHEN arm = 'holdout' THEN NULL ELSE 's' || CAST(number AS VARCHAR) END AS unit,
        run_id
    FROM (SELECT *, CAST(SUBSTR(customer_id, 2) AS INTEGER) % {stores} AS number FROM assignments)
    """
    with workspace.run("strategy", as_of=START) as run:
        run.replace("assignments", run.query(sql))
        run.replace("deliveries", run.query("SELECT * FROM deliveries WHERE 1 = 0"))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_command_shows_looks_and_rule(tmp_path: Path, language: str) -> None:
    workspace = make_test(tmp_path / "w", NONE, make_rule(guards=("revenue_per_customer",)))
    workspace.close()
    day: date = START + timedelta(days=7)
    command = ["--language", language, "--workspace", str(tmp_path / "w"), "evaluation", "run", "plan_a"]
    done = CliRunner().invoke(app, [*command, "--as-of", day.isoformat()])
    assert done.exit_code == 0, done.output
    english = ("Too early to decide", "Fixed before launch", "Guard")
    wanted = english if language == "en" else ("为时尚早", "投放前已定", "护栏")
    output = done.output.replace("\n", "")
    assert all(words in output for words in wanted), done.output
