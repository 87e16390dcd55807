"""A saved design becomes a plan's test: its arms, its days, its rule; and it cannot be changed after launch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from aimwell.cli.app import app
from aimwell.core.errors import BadInput, Conflict
from aimwell.core.tables import TABLES
from aimwell.engine.workspace import Workspace
from aimwell.goals.test_rule import TestRule
from aimwell.strategy.experiment.assignment import ArmRule, Arms
from aimwell.strategy.experiment.plan import design_test
from aimwell.strategy.experiment.question import Question
from aimwell.strategy.experiment.saved import load_design, save_design
from aimwell.strategy.experiment.words import to_payload
from aimwell.strategy.handover import Launch, build_assignments, fingerprint_plan
from aimwell.strategy.planner import make_rollout
from aimwell.strategy.step import plan
from tests.strategy.test_step import DAY, fill, learn, read
from tests.strategy.world import make_inputs


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = Workspace.create(tmp_path / "shop", name="shop", zone="UTC", currency="USD")
    fill(opened, 300)
    yield opened
    opened.close()


def save(workspace: Workspace, **asked: Any) -> int:
    usual = {"name": "spring", "metric": "revenue_per_customer", "days": 14, "control_share": 0.4}
    question = Question(**{**usual, **asked})
    with workspace.read() as reader:
        found = design_test(reader, workspace.settings, question, as_of=DAY)
    payload = json.loads(json.dumps(to_payload(found, "USD")))
    return save_design(workspace, question.name, payload)


def make_plan(workspace: Workspace, **given: Any) -> Any:
    given = {"as_of": DAY, "wave": "pilot", "goal": "profit", "round_number": 1, "design": "spring", **given}
    return plan(workspace, **given)


def test_the_plan_takes_arms_days_and_rule_of_the_design(workspace: Workspace) -> None:
    assert save(workspace, guards=("orders_per_customer",), looks=3) == 1
    result = make_plan(workspace)
    (row,) = read(workspace, "SELECT * FROM plan_designs")
    rule = TestRule.from_row(row)
    assert rule == load_design(workspace, "spring").rule
    assert (rule.metric, rule.days, rule.control_share, rule.version) == ("revenue_per_customer", 14, 0.4, 1)
    assert [guard.metric for guard in rule.guards] == ["orders_per_customer"]
    assert len(rule.times) == 3 and rule.alpha == 0.05
    (kept,) = read(workspace, "SELECT days FROM plans")
    assert kept["days"] == 14
    arms = read(workspace, "SELECT arm, stratum, probability, unit FROM assignments WHERE arm <> 'holdout'")
    assert {row["probability"] for row in arms} == {0.4, 0.6}
    assert all(row["unit"] is None for row in arms)
    strata = {row["stratum"] for row in arms}
    assert len(strata) > 1
    for stratum in strata:
        inside = [row["arm"] for row in arms if row["stratum"] == stratum]
        assert abs(inside.count("control") - 0.4 * len(inside)) <= 1
    told = result.summary["design"]
    assert told["name"] == "spring" and len(told["looks"]) == 3 and told["fingerprint"] == rule.fingerprint()
    assert all(sentence["en"] != sentence["zh"] for sentence in told["sentences"])
    # A hundred customers cannot show what the target asks for: said when planning, not when evaluating.
    assert not told["enough"] and any("can show" in text.render("en") for text in result.lacks)


def test_a_plan_made_anew_without_a_design_has_no_rule(workspace: Workspace) -> None:
    save(workspace)
    make_plan(workspace)
    other = make_plan(workspace, plan_id="other")
    assert other.summary["design"]["name"] == "spring"
    plain = make_plan(workspace, design=None)
    assert plain.summary["design"] is None
    assert [row["plan_id"] for row in read(workspace, "SELECT plan_id FROM plan_designs")] == ["other"]
    assert [row["days"] for row in read(workspace, "SELECT days FROM plans ORDER BY plan_id DESC")] == [
        28,
        14,
    ]


def test_two_plans_by_one_design_draw_differently_and_each_can_be_repeated(workspace: Workspace) -> None:
    save(workspace)
    make_plan(workspace, plan_id="a")
    make_plan(workspace, plan_id="b")
    sql = "SELECT customer_id, arm FROM assignments WHERE plan_id = '{}' AND arm <> 'holdout' ORDER BY customer_id"
    first, second = (read(workspace, sql.format(name)) for name in "ab")
    make_plan(workspace, plan_id="a")
    assert read(workspace, sql.format("a")) == first
    both = {row["customer_id"]: row["arm"] for row in second}
    same = [row["arm"] == both[row["customer_id"]] for row in first if row["customer_id"] in both]
    assert 0.3 < np.mean(same) < 0.75


def test_a_design_is_not_changed_once_its_plan_was_launched(workspace: Workspace) -> None:
    save(workspace)
    make_plan(workspace)
    # Until the launch, the design may change; the plan keeps what it was made with.
    assert save(workspace, looks=2) == 2
    assert TestRule.from_row(read(workspace, "SELECT * FROM plan_designs")[0]).version == 1
    (row,) = read(workspace, "SELECT plan_id FROM plans")
    with workspace.run("deployment", as_of=DAY) as run:
        delivery = {
            "delivery_id": "d1",
            "plan_id": row["plan_id"],
            "customer_id": "c5",
            "action_id": "x:email",
            "channel": "email",
            "state": "sent",
            "attempts": 1,
            "unit_cost": 0,
            "run_id": run.id,
        }
        run.append("deliveries", TABLES["deliveries"].build([delivery]))
    assert save(workspace, looks=2) == 2
    with pytest.raises(Conflict) as refused:
        save(workspace, looks=5)
    assert refused.value.code == "strategy.design_launched" and refused.value.remedy is not None
    assert save(workspace, name="autumn", looks=5) == 1
    with pytest.raises(Conflict) as launched:
        make_plan(workspace)
    assert launched.value.code == "strategy.plan_launched"


def test_whole_clusters_are_drawn_and_lone_customers_stay_unnamed(workspace: Workspace) -> None:
    with workspace.run("data", as_of=DAY) as run:
        rows = run.query("SELECT * FROM customers ORDER BY customer_id").to_pylist()
        for number, row in enumerate(rows):
            row["household"] = None if number % 10 == 0 else f"h{number % 60}"
        table = TABLES["customers"].build(
            [{k: v for k, v in row.items() if k != "household"} for row in rows]
        )
        run.replace(
            "customers", table.append_column("household", pa.array([row["household"] for row in rows]))
        )
    save(workspace, cluster="household", looks=1)
    make_plan(workspace)
    drawn = read(
        workspace, "SELECT customer_id, arm, unit, probability FROM assignments WHERE arm <> 'holdout'"
    )
    by_unit: dict[str, set[str]] = {}
    for row in drawn:
        if row["unit"] is not None:
            assert not row["unit"].endswith(row["customer_id"])
            by_unit.setdefault(row["unit"], set()).add(row["arm"])
    assert len(by_unit) > 20 and all(len(arms) == 1 for arms in by_unit.values())
    assert {row["arm"] for row in drawn} == {"treatment", "control"}
    assert any(row["unit"] is None for row in drawn)
    assert all(
        row["unit"] is None for row in read(workspace, "SELECT unit FROM assignments WHERE arm = 'holdout'")
    )


def test_a_segment_limits_the_plan(workspace: Workspace) -> None:
    with workspace.run("analysis", as_of=DAY) as run:
        members = [
            {"segment": "gold", "customer_id": f"c{number}", "entered_on": DAY, "run_id": run.id}
            for number in range(10, 120)
        ]
        run.replace("segment_members", TABLES["segment_members"].build(members))
    save(workspace, segment="gold")
    make_plan(workspace)
    people = {row["customer_id"] for row in read(workspace, "SELECT customer_id FROM assignments")}
    assert people and people <= {f"c{number}" for number in range(10, 120)}


@pytest.mark.parametrize(
    ("asked", "code"),
    [({"treatments": 2}, "strategy.design_of_many"), ({"outcome": "phone"}, "strategy.design_by_column")],
)
def test_a_design_that_no_plan_can_be_tested_by_is_refused(
    workspace: Workspace, asked: dict[str, Any], code: str
) -> None:
    if "outcome" in asked:
        with workspace.run("data", as_of=DAY) as run:
            rows = run.query("SELECT * FROM customers ORDER BY customer_id").to_pylist()
            numbered = [{**row, "phone": str(number % 7)} for number, row in enumerate(rows)]
            run.replace("customers", TABLES["customers"].build(numbered))
        asked = {**asked, "metric": None}
    save(workspace, **asked)
    with pytest.raises(BadInput) as refused:
        make_plan(workspace)
    assert refused.value.code == code
    with pytest.raises(BadInput) as unknown:
        make_plan(workspace, design="nothing")
    assert unknown.value.code == "strategy.unknown_design"


def test_other_days_than_the_designs_are_refused(workspace: Workspace) -> None:
    save(workspace)
    with pytest.raises(BadInput) as refused:
        make_plan(workspace, days=28)
    assert refused.value.code == "strategy.days_of_design"
    make_plan(workspace, days=14)


def test_an_optimised_plan_takes_a_design_too(workspace: Workspace) -> None:
    make_plan(workspace, design=None)
    learn(workspace)
    save(workspace, strata="value_tier") if "value_tier" in _list_tags(workspace) else save(workspace)
    result = make_plan(workspace, wave="rollout")
    assert result.summary["method"] == "lagrangian" and result.summary["design"]["name"] == "spring"


def _list_tags(workspace: Workspace) -> list[str]:
    with workspace.read() as reader:
        return list(reader.query("SELECT * FROM tags LIMIT 0").schema.names)


def test_an_approval_covers_the_rule() -> None:
    inputs = make_inputs(200)
    arms = Arms.with_control(inputs.shares.control)
    strata = tuple(str(number % 3) for number in range(200))
    clusters = tuple(f"k{number % 20}" for number in range(200))
    drawn = replace(inputs, arm_rule=ArmRule(arms, "s", strata, clusters, "rule 1"))
    other = replace(inputs, arm_rule=ArmRule(arms, "s", strata, clusters, "rule 2"))
    first = make_rollout(drawn)
    assert fingerprint_plan(drawn, first) != fingerprint_plan(other, make_rollout(other))
    rows = build_assignments(drawn, first, Launch("r", "g", 1, DAY, 28, False)).to_pylist()
    assert {row["unit"] for row in rows if row["arm"] != "holdout"} <= set(clusters)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_commands_in_both_languages(tmp_path: Path, workspace: Workspace, language: str) -> None:
    start = ["--language", language, "--workspace", str(tmp_path / "shop")]
    runner, day = CliRunner(), DAY.isoformat()
    made = runner.invoke(
        app, [*start, "strategy", "design", "--days", "14", "--save", "spring", "--as-of", day]
    )
    assert made.exit_code == 0, made.output
    options = ["strategy", "plan", "--design", "spring", "--as-of", day, "--wave", "pilot"]
    planned = runner.invoke(app, [*start, *options])
    assert planned.exit_code == 0, planned.output
    assert ("fixed before launch" if language == "en" else "投放前已定") in planned.output.replace("\n", "")
    shown = runner.invoke(app, [*start, "strategy", "show"])
    assert shown.exit_code == 0 and "spring" in shown.output, shown.output
    wrong = runner.invoke(app, [*start, "strategy", "plan", "--design", "winter", "--as-of", day])
    assert isinstance(wrong.exception, BadInput) and wrong.exception.code == "strategy.unknown_design"
