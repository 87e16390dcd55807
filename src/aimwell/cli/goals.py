"""``aimwell goals``: set goals for the company and for campaigns, see their tree and their pace."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from aimwell.cli.help import App
from aimwell.cli.output import emit, emit_result, make_table, read_day, read_money, state
from aimwell.core.text import say

if TYPE_CHECKING:
    from aimwell.goals.tree import Split

app = App(help="Step 1: goals.  第一步 目标")

Name = Annotated[str | None, typer.Argument(help="The goal; newest by default.  目标名称，默认取最新")]
AsOf = Annotated[str | None, typer.Option(help="First business day, YYYY-MM-DD.  首个业务日，YYYY-MM-DD")]
Known = Annotated[
    str | None, typer.Option("--as-of", help="What was known before this day.  以该日之前的数据为准")
]
Budget = Annotated[str | None, typer.Option(help="What it may spend.  可用预算")]


@app.command("set")
def set_goal_command(
    context: typer.Context,
    as_of: AsOf = None,
    metric: Annotated[
        str | None, typer.Option(help="The KPI; see: goals metrics.  指标；见 goals metrics")
    ] = None,
    target: Annotated[float, typer.Option(help="Relative change wanted.  期望的相对变化")] = 0.05,
    days: Annotated[int, typer.Option(help="Length of the window.  窗口天数")] = 28,
    budget: Budget = None,
    name: Annotated[str, typer.Option(help="The goal's name.  目标名称")] = "round",
    parent: Annotated[str | None, typer.Option(help="The goal that it serves.  所服务的上级目标")] = None,
    amount: Annotated[
        str | None, typer.Option(help="What it brings its parent.  为上级目标贡献的金额")
    ] = None,
    segment: Annotated[str | None, typer.Option(help="Only this segment.  仅限该分群")] = None,
    control: Annotated[float | None, typer.Option(help="Share in control.  对照组占比")] = None,
) -> None:
    """Set a campaign's goal; show baseline and feasibility.  设定活动目标，显示基线与可行性"""
    from aimwell.cli.goals_drawing import draw_goal
    from aimwell.goals.overview import refuse_past
    from aimwell.goals.step import set_goal
    from aimwell.loop.clock import find_as_of

    workspace = state(context).workspace
    newest = find_as_of(workspace)
    day = read_day(as_of) or newest
    refuse_past(day, days, newest)
    money: Decimal | None = read_money(budget)
    result = set_goal(
        workspace,
        as_of=day,
        days=days,
        budget=money,
        metric=metric,
        target=target,
        name=name,
        parent=parent,
        amount=read_money(amount),
        segment=segment,
        control_share=control,
    )
    emit_result(context, result, lambda console: draw_goal(console, result.summary))


@app.command("company")
def set_company_command(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The goal's name.  目标名称")],
    measure: Annotated[
        str, typer.Option(help="revenue, contribution or orders.  收入、贡献或订单数")
    ] = "revenue",
    target: Annotated[float | None, typer.Option(help="Relative change wanted.  期望的相对变化")] = None,
    amount: Annotated[str | None, typer.Option(help="Or by how much more.  或期望的增加额")] = None,
    start: Annotated[
        str | None, typer.Option(help="First business day, YYYY-MM-DD.  首个业务日，YYYY-MM-DD")
    ] = None,
    days: Annotated[int, typer.Option(help="Length of the window.  窗口天数")] = 91,
    against: Annotated[
        str, typer.Option(help="before or year (52 weeks earlier).  对比：before 之前，year 去年同期")
    ] = "before",
    budget: Budget = None,
) -> None:
    """Set a goal for the whole business; show its tree.  设定公司目标，显示目标树"""
    from aimwell.goals.overview import Asked, set_company_goal
    from aimwell.loop.clock import find_as_of

    workspace = state(context).workspace
    asked = Asked(
        name, measure, read_day(start), days, target, read_money(amount), against, read_money(budget)
    )
    set_company_goal(workspace, asked, as_of=find_as_of(workspace))
    _emit_tree(context, name, "swing")


@app.command("tree")
def show_tree_command(
    context: typer.Context,
    name: Name = None,
    split: Annotated[
        str, typer.Option(help="swing, equal, or retained=0.5,…  按波动、均分或自定份额")
    ] = "swing",
) -> None:
    """Show drivers, campaigns and what is assigned to none.  显示驱动因素、活动与未分配缺口"""
    from aimwell.cli.goals_drawing import read_split

    _emit_tree(context, name, read_split(split))


@app.command("show")
def show_goal_command(context: typer.Context, name: Name = None) -> None:
    """Show a goal, its baseline and whether it can be seen.  显示目标、基线与可行性"""
    from aimwell.cli.goals_drawing import draw_company, draw_goal
    from aimwell.goals.company import CompanyGoal
    from aimwell.goals.overview import choose_goal
    from aimwell.goals.step import measure_goal
    from aimwell.goals.summary import summarise_goal

    workspace = state(context).workspace
    goal = choose_goal(workspace, name)
    currency = workspace.settings.business.currency
    if isinstance(goal, CompanyGoal):
        payload = summarise_goal(goal) | {"currency": currency}
        emit(context, payload, lambda console: draw_company(console, payload))
        return
    with workspace.read("goals") as reader:
        result = measure_goal(reader, goal, workspace.settings)
    emit_result(context, result, lambda console: draw_goal(console, result.summary))


@app.command("list")
def list_goals_command(context: typer.Context) -> None:
    """List all goals.  列出所有目标"""
    from aimwell.cli.goals_drawing import draw_list
    from aimwell.goals.kept import list_goals
    from aimwell.goals.summary import summarise_goal

    goals = [summarise_goal(goal) for goal in list_goals(state(context).workspace.store).values()]
    emit(context, {"goals": goals}, lambda console: draw_list(console, goals))


@app.command("pace")
def show_pace_command(context: typer.Context, name: Name = None, as_of: Known = None) -> None:
    """Show how far a goal is, and where it will end.  显示目标进度与预测"""
    from aimwell.cli.goals_drawing import draw_pace
    from aimwell.goals.overview import read_pace
    from aimwell.goals.summary import summarise_pace
    from aimwell.loop.clock import find_as_of

    workspace = state(context).workspace
    pace = read_pace(workspace, name, as_of=read_day(as_of) or find_as_of(workspace))
    payload = summarise_pace(pace, workspace.settings.business.currency)
    emit(context, payload, lambda console: draw_pace(console, payload))


@app.command("remove")
def remove_goal_command(
    context: typer.Context, name: Annotated[str, typer.Argument(help="The goal.  目标名称")]
) -> None:
    """Take a goal away.  移除目标"""
    from aimwell.goals.kept import remove_goal

    remove_goal(state(context).workspace.store, name)
    text = say("The goal '{name}' is removed.", name=name)
    emit(
        context,
        {"removed": name},
        lambda console: console.print(str(text), highlight=False, markup=False),
    )


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


def _emit_tree(context: typer.Context, name: str | None, split: Split) -> None:
    from aimwell.cli.goals_drawing import draw_tree
    from aimwell.goals.overview import read_tree
    from aimwell.goals.summary import summarise_tree

    workspace = state(context).workspace
    tree, lost = read_tree(workspace, name, split=split)
    payload = summarise_tree(tree, lost, workspace.settings.business.currency)
    emit(context, payload, lambda console: draw_tree(console, payload))
