"""``aimwell strategy``: plan a wave, trace the frontier, compare plans, explain a customer's action, list actions."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from aimwell.cli.help import App
from aimwell.cli.output import (
    add_row,
    emit,
    emit_result,
    in_language,
    make_number_table,
    read_money,
    show_amount,
    state,
)
from aimwell.cli.plan_inputs import choose_day, read_plan_basis, read_plan_inputs
from aimwell.cli.strategy_actions import app as actions_app
from aimwell.cli.strategy_design import design, markets
from aimwell.cli.strategy_live import live
from aimwell.cli.strategy_simulate import simulate
from aimwell.core.errors import BadInput, NotReady
from aimwell.core.ids import fold_id
from aimwell.core.text import Language, Text, say

if TYPE_CHECKING:
    from aimwell.engine.workspace import Workspace

app = App(help="Step 4: offers, plan, frontier.  第四步 战略：优惠、计划、预算前沿")
app.command(name="design")(design)
app.command(name="markets")(markets)
app.command(name="simulate")(simulate)
app.add_typer(live, name="live")
app.add_typer(actions_app, name="actions")
Day = Annotated[
    str | None, typer.Option("--as-of", help="First day of the plan, YYYY-MM-DD.  计划首日，YYYY-MM-DD")
]
Budget = Annotated[str | None, typer.Option(help="What the wave may spend.  本波预算")]


@app.command(name="plan")
def make_plan(
    context: typer.Context,
    wave: Annotated[str, typer.Option(help="pilot or rollout.  pilot 试点或 rollout 全面投放")] = "rollout",
    budget: Budget = None,
    as_of: Day = None,
    goal: Annotated[str, typer.Option(help="The goal it serves.  所服务的目标")] = "incremental_profit",
    round_number: Annotated[int, typer.Option("--round", min=1, help="The round.  轮次")] = 1,
    days: Annotated[
        int | None,
        typer.Option(min=1, max=365, help="Length of the outcome window, or 28.  观察窗口天数，默认 28"),
    ] = None,
    design: Annotated[str | None, typer.Option(help="A saved design of a test.  已保存的试验设计")] = None,
) -> None:
    """Plan one wave and draw its arms.  制定一波投放计划并随机分组"""
    from aimwell.strategy.step import plan

    workspace = state(context).workspace
    result = plan(
        workspace,
        as_of=choose_day(workspace, as_of),
        wave=_check_wave(wave),
        goal=goal,
        round_number=round_number,
        days=days,
        budget=read_money(budget),
        design=design,
    )
    result.summary["rests_on_simulated"] = _is_simulated(workspace)
    emit_result(context, result, lambda console: _show_expected(console, result.summary, _show_plan))


@app.command()
def show(
    context: typer.Context,
    plan: Annotated[
        str | None, typer.Argument(help="The plan; the newest when omitted.  计划编号；省略则取最新")
    ] = None,
) -> None:
    """Show a plan that was made: its limits, its arms and what each action is for.

    查看计划：约束、分组与各动作的用途
    """
    payload = _read_plan(state(context).workspace, plan)
    _emit_expected(context, payload, _show_kept_plan)


@app.command()
def frontier(context: typer.Context, budget: Budget = None, as_of: Day = None) -> None:
    """Show what each budget is expected to earn.  预算—利润前沿：各预算的期望利润"""
    from aimwell.cli.strategy_whatif import draw_frontier, make_frontier

    basis = read_plan_basis(state(context).workspace, as_of, budget)
    payload = {**make_frontier(basis.inputs), "basis": basis.to_dict()}
    _emit_expected(context, payload, draw_frontier)


@app.command()
def explain(
    context: typer.Context,
    customer: Annotated[str, typer.Argument(parser=fold_id, help="The customer.  客户编号")],
    budget: Budget = None,
    as_of: Day = None,
) -> None:
    """Show what each action is worth for a customer, and why it was chosen or not.

    某客户各动作值多少，为何选中或未选中
    """
    from aimwell.cli.strategy_whatif import draw_customer, explain_customer
    from aimwell.strategy.customer_reasons import read_exclusions

    workspace = state(context).workspace
    inputs = read_plan_inputs(workspace, as_of, budget)
    with workspace.read() as reader:
        day = choose_day(workspace, as_of)
        exclusions = read_exclusions(reader, workspace.settings, customer, as_of=day, actions=inputs.actions)
    payload = explain_customer(inputs, customer, exclusions, _read_latest_item(workspace, customer))
    _emit_expected(context, payload, draw_customer)


@app.command()
def compare(
    context: typer.Context,
    budget: Annotated[
        list[str] | None, typer.Option(help="Another budget: an amount, or x1.2.  另一预算：金额或倍数 x1.2")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="Without a channel or limit.  去掉某渠道或约束")
    ] = None,
    minimum: Annotated[
        list[str] | None,
        typer.Option(help="PART=N: at least N customers by it.  某渠道、优惠或动作至少 N 位客户，如 sms=500"),
    ] = None,
    base: Annotated[str | None, typer.Option(help="The base's budget.  基准方案的预算")] = None,
    as_of: Day = None,
) -> None:
    """Compare plans side by side: other budgets, without a channel or limit, other minimums.

    方案对比：换预算、去掉某渠道或约束、增加最低数量
    """
    from aimwell.cli.strategy_whatif import draw_comparison, make_comparison

    basis = read_plan_basis(state(context).workspace, as_of, base)
    asked = {"budgets": budget or (), "without": without or (), "minimums": minimum or ()}
    payload = {**make_comparison(basis.inputs, **asked), "basis": basis.to_dict()}
    _emit_expected(context, payload, draw_comparison)


PLANS_SQL = """
SELECT
    plan_id, goal, round_number, wave, method, as_of, days, audience, chosen,
    expected_profit, expected_profit_se, upper_bound, gap, cost, fingerprint, simulated, basis
FROM plans
ORDER BY as_of DESC, round_number DESC, plan_id
"""
BY_ACTION_SQL = """
SELECT
    plan_items.action_id,
    actions.title,
    COUNT(*) AS chosen,
    SUM(CASE WHEN assignments.arm = 'treatment' THEN 1 ELSE 0 END) AS treated,
    SUM(CASE WHEN assignments.arm = 'treatment' THEN plan_items.expected_profit ELSE 0 END) AS expected_profit,
    SUM(CASE WHEN assignments.arm = 'treatment' THEN plan_items.expected_cost ELSE 0 END) AS cost
FROM plan_items
JOIN actions ON actions.action_id = plan_items.action_id
JOIN assignments
  ON assignments.plan_id = plan_items.plan_id AND assignments.customer_id = plan_items.customer_id
WHERE plan_items.plan_id = $plan_id
GROUP BY plan_items.action_id, actions.title
ORDER BY plan_items.action_id
"""
CONSTRAINTS_SQL = """
SELECT constraint_id, title, sense, "limit", used, unit, shadow_price
FROM constraints
WHERE plan_id = $plan_id
ORDER BY constraint_id
"""
ARMS_SQL = (
    "SELECT arm, COUNT(*) AS customers FROM assignments WHERE plan_id = $plan_id GROUP BY arm ORDER BY arm"
)


DESIGN_SQL = "SELECT * FROM plan_designs WHERE plan_id = $plan_id"


def _emit_expected(
    context: typer.Context, payload: dict[str, Any], draw: Callable[[Console, dict[str, Any]], None]
) -> None:
    """Show what rests on effects, and say where these come from."""
    marked = {**payload, "rests_on_simulated": _is_simulated(state(context).workspace)}
    emit(context, marked, lambda console: _show_expected(console, marked, draw))


def _show_expected(
    console: Console, payload: dict[str, Any], draw: Callable[[Console, dict[str, Any]], None]
) -> None:
    draw(console, payload)
    basis = payload.get("basis") or {}
    for told in [*basis.get("sentences", ()), *basis.get("careful", ())]:
        console.print(f"• {in_language(told)}", markup=False, highlight=False)
    if payload["rests_on_simulated"]:
        told = say("Customers' answers in this workspace are simulated: what is expected rests on them, too.")
        console.print(str(told), markup=False, highlight=False)


def _is_simulated(workspace: Workspace) -> bool:
    """Whether effects may have been learnt from a plan whose market was simulated."""
    with workspace.read() as reader:
        return bool(reader.query("SELECT COUNT(*) AS n FROM plans WHERE simulated")["n"][0].as_py())


def _read_plan(workspace: Workspace, plan_id: str | None) -> dict[str, Any]:
    with workspace.read() as reader:
        plans = reader.query(PLANS_SQL).to_pylist()
        found = [row for row in plans if plan_id in (None, row["plan_id"])]
        if not found:
            raise NotReady(
                "strategy.no_plan",
                say("There is no such plan yet."),
                remedy=say("Make one with: aimwell strategy plan"),
                where={"table": "plans", "value": plan_id},
            )
        wanted = {"plan_id": found[0]["plan_id"]}
        return {
            **found[0],
            "basis": json.loads(found[0]["basis"] or "null"),
            "currency": workspace.settings.business.currency,
            "arms": {row["arm"]: row["customers"] for row in reader.query(ARMS_SQL, wanted).to_pylist()},
            "design": _describe_design(reader.query(DESIGN_SQL, wanted).to_pylist(), found[0]["as_of"]),
            "constraints": _with_titles(reader.query(CONSTRAINTS_SQL, wanted).to_pylist()),
            "by_action": _with_titles(reader.query(BY_ACTION_SQL, wanted).to_pylist()),
        }


def _describe_design(rows: list[dict[str, Any]], start: date) -> dict[Language, str] | None:
    """What decides the plan's test, and when; None for a plan without a design."""
    from aimwell.goals.test_rule import TestRule
    from aimwell.strategy.experiment.saved import describe_rule

    return describe_rule(TestRule.from_row(rows[0]), start).both() if rows else None


def _with_titles(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "title": Text.from_json(row["title"]).both()} for row in rows]


def _show_kept_plan(console: Console, payload: dict[str, Any]) -> None:
    currency, arms = payload["currency"], payload["arms"]
    _show_size(console, payload, {arm: arms.get(arm, 0) for arm in ("treatment", "control", "holdout")})
    if payload["design"]:
        console.print(in_language(payload["design"]), markup=False, highlight=False)
    error = 1.96 * payload["expected_profit_se"]
    expected = payload["expected_profit"]
    _show_promise(console, expected, expected - error, expected + error, payload["cost"], currency)
    table = make_number_table(say("Constraint"), say("Limit"), say("Used"), say("Shadow price"))
    for row in payload["constraints"]:
        price = show_amount(row["shadow_price"], currency)
        add_row(table, in_language(row["title"]), f"{row['limit']:,.2f}", f"{row['used']:,.2f}", price)
    console.print(table)
    table = make_number_table(say("Action"), say("Treated"), say("Expected profit"), say("Cost"))
    for row in payload["by_action"]:
        profit, cost = show_amount(row["expected_profit"], currency), show_amount(row["cost"], currency)
        add_row(table, in_language(row["title"]), str(row["treated"]), profit, cost)
    console.print(table)


def _show_size(console: Console, plan: dict[str, Any], arms: dict[str, int]) -> None:
    console.print(
        str(
            say(
                "Plan {plan}: {chosen} of {audience} customers chosen; {treatment} treated, {control} control, "
                "{holdout} held out.",
                plan=plan["plan_id"],
                chosen=plan["chosen"],
                audience=plan["audience"],
                treatment=arms["treatment"],
                control=arms["control"],
                holdout=arms["holdout"],
            )
        )
    )


def _show_promise(
    console: Console, profit: float, lower: float, upper: float, cost: float | Decimal, currency: str
) -> None:
    console.print(
        str(
            say(
                "Expected profit {profit} ({lower} to {upper}), cost {cost}.",
                profit=show_amount(profit, currency),
                lower=show_amount(lower, currency),
                upper=show_amount(upper, currency),
                cost=show_amount(cost, currency),
            )
        )
    )


def _check_wave(wave: str) -> Literal["pilot", "rollout"]:
    if wave == "pilot":
        return "pilot"
    if wave == "rollout":
        return "rollout"
    raise BadInput(
        "strategy.unknown_wave",
        say("The wave '{wave}' is not known.", wave=wave),
        remedy=say("Use pilot or rollout."),
        where={"column": "wave", "value": wave},
    )


def _read_latest_item(workspace: Workspace, customer: str) -> dict[str, Any] | None:
    sql = """
    SELECT plan_items.plan_id, plan_items.action_id, plan_items.reason, assignments.arm
    FROM plan_items
    JOIN plans ON plans.plan_id = plan_items.plan_id
    JOIN assignments
      ON assignments.plan_id = plan_items.plan_id AND assignments.customer_id = plan_items.customer_id
    WHERE plan_items.customer_id = $customer
    ORDER BY plans.as_of DESC, plan_items.plan_id
    LIMIT 1
    """
    with workspace.read() as reader:
        rows = reader.query(sql, {"customer": customer}).to_pylist()
    return {**rows[0], "reason": Text.from_json(rows[0]["reason"]).both()} if rows else None


def _show_plan(console: Console, summary: dict[str, Any]) -> None:
    profit = summary["expected_profit"]
    _show_size(console, summary, summary["arms"])
    currency = str(summary["currency"])
    _show_promise(console, profit["estimate"], profit["lower"], profit["upper"], summary["cost"], currency)
    if summary["gap"] is not None:
        console.print(
            str(say("No plan can be better by more than {gap} %.", gap=f"{summary['gap'] * 100:.3f}"))
        )
    table = make_number_table(say("Constraint"), say("Limit"), say("Used"), say("What it is worth"))
    for row in summary["constraints"]:
        add_row(
            table,
            in_language(row["title"]),
            f"{row['limit']:,.2f}",
            f"{row['used']:,.2f}",
            in_language(row["sentence"]),
        )
    console.print(table)
    for told in summary["five_w"].values():
        console.print(f"• {in_language(told)}", markup=False, highlight=False)
    for row in summary["left_out"]:
        words = f"• {in_language(row['title'])}: {in_language(row['sentence'])}"
        console.print(words, markup=False, highlight=False)
    for told in (summary["design"] or {}).get("sentences", [])[:1]:
        console.print(f"• {in_language(told)}", markup=False, highlight=False)
    for example in summary["examples"][:3]:
        console.print(f"• {example['customer_id']}: {in_language(example['reason'])}", markup=False)
