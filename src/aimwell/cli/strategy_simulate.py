"""``aimwell strategy simulate``: rehearse the next rounds on a simulated market."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from aimwell.cli.output import add_row, emit, in_language, make_table, show_progress, state
from aimwell.cli.plan_inputs import choose_day, read_plan_inputs
from aimwell.core.money import show_money
from aimwell.core.text import current_language, say


def simulate(
    context: typer.Context,
    rounds: Annotated[int, typer.Option(help="Rounds from a cold start.  从零开始的轮数")] = 10,
    markets: Annotated[int, typer.Option(help="Simulated markets.  模拟市场个数")] = 10,
    budget: Annotated[str | None, typer.Option(help="What a round may spend.  每轮预算")] = None,
    as_of: Annotated[
        str | None, typer.Option(help="First day of the plan, YYYY-MM-DD.  计划首日，YYYY-MM-DD")
    ] = None,
    chart: Annotated[
        Path | None,
        typer.Option(help="Write profit by round as a page to this file.  将各轮利润写成图表页面"),
    ] = None,
) -> None:
    """Rehearse rounds with your own customers, actions and limits; all answers are simulated.

    以自己的客户、营销动作与约束预演多轮投放；所有反应均为模拟
    """
    from aimwell.strategy.simulator.rehearsal import rehearse

    workspace = state(context).workspace
    inputs = read_plan_inputs(workspace, as_of, budget)
    with workspace.read() as reader:
        found = rehearse(
            reader,
            inputs,
            as_of=choose_day(workspace, as_of),
            margin_rate=workspace.settings.business.margin_rate,
            rounds=rounds,
            markets=markets,
            progress=show_progress(context),
        )
    payload = found.to_dict()
    if chart is not None:
        from aimwell.loop.report import write_rehearsal

        payload["chart"] = str(write_rehearsal({"cases": [payload]}, chart, currency=found.currency))
    emit(context, payload, lambda console: _draw(console, payload))


def _draw(console: Console, payload: dict[str, Any]) -> None:
    currency = payload["currency"]
    table = make_table(
        str(say("Policy")),
        str(say("Profit of all rounds (simulated)")),
        str(say("Ours less this (simulated)")),
    )
    for row in payload["policies"]:
        difference = row["ours_less_this"]
        shown = "" if difference is None else _show(difference, currency)
        add_row(table, in_language(row["title"]), _show(row["profit"], currency), shown)
    console.print(table)
    for text in payload["sentences"]:
        console.print(f"• {in_language(text)}", markup=False, highlight=False)
    if "chart" in payload:
        message = say("The chart (simulated) is in {file}.", file=payload["chart"])
        console.print(str(message), markup=False, highlight=False)


def _show(estimate: dict[str, Any], currency: str) -> str:
    middle, lower, upper = (
        show_money(estimate[name], currency, current_language()) for name in ("estimate", "lower", "upper")
    )
    return f"{middle} [{lower}, {upper}]"
