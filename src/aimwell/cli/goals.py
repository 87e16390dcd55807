"""``aimwell goals``: set a goal, list what can be aimed at."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.console import Console

from aimwell.cli.help import App
from aimwell.cli.output import emit, emit_result, in_language, make_table, read_day, read_money, state
from aimwell.core.text import say

app = App(help="Step 1: goals.  第一步 目标")


@app.command("set")
def set_goal_command(
    context: typer.Context,
    as_of: Annotated[
        str | None, typer.Option(help="First business day, YYYY-MM-DD.  首个业务日，YYYY-MM-DD")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="The KPI; see: goals metrics.  指标；见 goals metrics")
    ] = None,
    target: Annotated[float, typer.Option(help="Relative change wanted.  期望的相对变化")] = 0.05,
    days: Annotated[int, typer.Option(help="Length of the window.  窗口天数")] = 28,
    budget: Annotated[str | None, typer.Option(help="What it may spend.  可用预算")] = None,
) -> None:
    """Set the goal; show baseline and feasibility.  设定目标，显示基线与可行性"""
    from aimwell.goals.step import set_goal
    from aimwell.loop.clock import find_as_of

    workspace = state(context).workspace
    day = read_day(as_of) or find_as_of(workspace)
    money: Decimal | None = read_money(budget)
    result = set_goal(workspace, as_of=day, days=days, budget=money, metric=metric, target=target)
    emit_result(context, result, lambda console: _draw_goal(console, result.summary))


@app.command("metrics")
def list_metrics(context: typer.Context) -> None:
    """List the metrics by objective family.  按目标类别列出指标"""
    from aimwell.goals.metrics import FAMILIES, METRICS

    payload = {
        "metrics": [
            {"name": metric.name, "family": metric.family, "title": metric.title.both(), "sql": metric.sql}
            for metric in METRICS.values()
        ]
    }

    def draw(console: Console) -> None:
        table = make_table(str(say("Metric")), str(say("Meaning")), str(say("Objective")))
        for metric in METRICS.values():
            table.add_row(metric.name, str(metric.title), str(FAMILIES[metric.family]))
        console.print(table)

    emit(context, payload, draw)


def _draw_goal(console: Console, summary: dict[str, Any]) -> None:
    console.print(in_language(summary["title"]), style="bold", markup=False)
    baseline = summary.get("baseline")
    if baseline is None:
        return
    text = say(
        "Baseline {estimate} [{lower}, {upper}], {n} customers",
        estimate=f"{baseline['estimate']:,.4g}",
        lower=f"{baseline['lower']:,.4g}",
        upper=f"{baseline['upper']:,.4g}",
        n=f"{baseline['n']:,}",
    )
    console.print(str(text), highlight=False)
    console.print(in_language(summary["feasibility"]["sentence"]), highlight=False)
