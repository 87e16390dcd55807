"""``aimwell evaluation``: what a plan caused, what was learnt, and any experiment in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from aimwell.cli.help import App
from aimwell.cli.naming import read_titles
from aimwell.cli.output import add_row, emit, emit_result, in_language, make_number_table, read_day, state
from aimwell.core.errors import NotReady
from aimwell.core.text import Text, say

if TYPE_CHECKING:
    from aimwell.engine.workspace import Reader

app = App(help="Step 6: evaluation.  第六步 效果评估")


@app.command("run")
def run_evaluation(
    context: typer.Context,
    plan: Annotated[
        str | None,
        typer.Argument(help="The plan; the newest ended one when omitted.  投放计划；省略则取最近结束的"),
    ] = None,
    as_of: Annotated[str | None, typer.Option(help="Business day, YYYY-MM-DD.  业务日，YYYY-MM-DD")] = None,
) -> None:
    """Measure what a plan caused, once its window has ended; look at a designed test on its planned days.

    窗口结束后，评估一个计划带来的增量；已设计的试验在计划的查看日也可查看
    """
    from aimwell.evaluation.step import evaluate
    from aimwell.loop.clock import find_as_of

    workspace = state(context).workspace
    result = evaluate(workspace, plan_id=plan, as_of=read_day(as_of) or find_as_of(workspace))
    emit_result(context, result, lambda console: _draw_summary(console, result.summary))


@app.command("show")
def show_results(
    context: typer.Context,
    plan: Annotated[
        str | None,
        typer.Argument(help="The plan; the newest evaluated one when omitted.  投放计划；省略则取最近评估的"),
    ] = None,
) -> None:
    """Show the kept results of a plan.  查看评估结果"""
    from aimwell.evaluation.kept import read_results

    with state(context).workspace.read() as reader:
        rows = read_results(reader, plan)
        parts = _name_parts(reader)
    emit(context, {"results": rows}, lambda console: _draw_results(console, rows, parts))


@app.command("lessons")
def show_lessons(context: typer.Context) -> None:
    """List what was learnt, newest plan first.  查看经验总结"""
    from aimwell.evaluation.kept import read_lessons

    with state(context).workspace.read() as reader:
        rows = read_lessons(reader)
    if not rows:
        raise NotReady(
            "evaluation.no_lessons",
            say("Nothing has been learnt yet."),
            remedy=say("Evaluate a plan whose window has ended with: aimwell evaluation run"),
        )

    def draw(console: Console) -> None:
        for row in rows:
            mark = str(say("(simulated)")) if row["simulated"] else ""
            words = f"{row['plan_id']}: {in_language(row['lesson'])} {mark}"
            console.print(words, highlight=False, markup=False)

    emit(context, {"lessons": rows}, draw)


@app.command("experiment")
def evaluate_file(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV, one row per customer.  CSV 文件，每客户一行")],
    arm: Annotated[str, typer.Option(help="The column of the arm.  分组列")],
    outcome: Annotated[str, typer.Option(help="The column of the outcome.  结果列")],
    cluster: Annotated[str | None, typer.Option(help="The column by which arms were drawn.  整群列")] = None,
    covariate: Annotated[str | None, typer.Option(help="A number known before.  实验前已知的数值列")] = None,
    control: Annotated[str | None, typer.Option(help="The control's name.  对照组名称")] = None,
    share: Annotated[
        list[str] | None, typer.Option(help="ARM=SHARE as drawn.  各组设计比例，如 对照=0.5")
    ] = None,
) -> None:
    """Evaluate a randomised experiment from a file.  评估任意随机实验"""
    from aimwell.evaluation.comparison import evaluate_experiment
    from aimwell.evaluation.experiment_file import read_experiment, read_shares

    data = read_experiment(file, arm=arm, outcome=outcome, cluster=cluster, covariate=covariate)
    result = evaluate_experiment(
        data.outcome,
        data.arm,
        cluster=data.cluster,
        covariate=data.covariate,
        control=control,
        shares=read_shares(share),
    )
    payload = {"file": file.name, "left_out": data.left_out, **result.to_dict()}
    emit(context, payload, lambda console: _draw_experiment(console, payload))


def _draw_summary(console: Console, summary: dict[str, Any]) -> None:
    decision = summary.get("decision")
    if decision:
        console.print(in_language(decision["sentence"]), style="bold", markup=False)
    if summary.get("test"):
        _draw_test(console, summary)
    table = Table(str(say("Metric")), str(say("Estimate")), str(say("95 % interval")), str(say("Proven")))
    for name, title in _name_metrics().items():
        found = summary.get(name)
        if found:
            table.add_row(str(title), *_format_estimate(found))
    if table.row_count:
        console.print(table)
    for lesson in summary.get("lessons", []):
        console.print(f"• {in_language(lesson)}", highlight=False)


def _draw_test(console: Console, summary: dict[str, Any]) -> None:
    """A designed test: each look, what it says, and the rule."""
    table = make_number_table(
        say("Metric"), say("Look"), say("Known before"), say("|z|"), say("Limit"), say("Error spent")
    )
    for look in summary["test"]["looks"]:
        limit = "∞" if look["limit"] is None else f"{look['limit']:.2f}"
        figures = (str(look["look"]), look["looked_on"], f"{abs(look['z']):.2f}", limit)
        add_row(table, in_language(look["title"]), *figures, f"{look['spent']:.2%}")
    if table.row_count:
        console.print(table)
    for reason in summary["decision"]["reasons"]:
        console.print(f"• {in_language(reason)}", highlight=False, markup=False)
    console.print(f"• {in_language(summary['decision']['rule'])}", highlight=False, markup=False)


def _name_parts(reader: Reader) -> dict[str, str]:
    """Every part of a plan that results can be about, in words."""
    from aimwell.evaluation.breakdown import name_tiers

    parts = {"all": str(say("all customers"))}
    parts |= {f"tier:{tier}": str(title) for tier, title in name_tiers().items()}
    parts |= {f"segment:{segment}": title for segment, title in read_titles(reader).items()}
    actions = reader.query("SELECT action_id, title FROM actions ORDER BY action_id").to_pylist()
    return parts | {f"action:{row['action_id']}": str(Text.from_json(row["title"])) for row in actions}


def _draw_results(console: Console, rows: list[dict[str, Any]], parts: dict[str, str]) -> None:
    table = Table(
        str(say("Metric")),
        str(say("Part")),
        str(say("Estimate")),
        str(say("95 % interval")),
        str(say("Proven")),
    )
    titles = _name_metrics()
    for row in rows:
        title = str(titles[row["metric"]]) if row["metric"] in titles else row["metric"]
        add_row(table, title, parts.get(row["segment"], row["segment"]), *_format_estimate(row))
    console.print(table)


def _draw_experiment(console: Console, payload: dict[str, Any]) -> None:
    points = payload["kind"] == "share"
    table = Table(
        str(say("Arm")), str(say("Effect")), str(say("95 % interval")), str(say("p")), str(say("Method"))
    )
    for found in payload["comparisons"]:
        for name in ("effect", "adjusted", "rerandomised", "clustered"):
            effect = found[name]
            if effect:
                estimate, interval, _ = _format_estimate(effect, points=points)
                table.add_row(found["arm"], estimate, interval, f"{effect['p_value']:.2g}", effect["method"])
    console.print(table)
    for found in payload["comparisons"]:
        verdict = say("{arm}: proven.", arm=found["arm"])
        if not found["proven"]:
            verdict = say("{arm}: not proven.", arm=found["arm"])
        console.print(str(verdict))
    for text in payload["lacks"]:
        console.print(f"• {in_language(text)}", style="yellow", markup=False)


def _format_estimate(found: dict[str, Any], *, points: bool = False) -> tuple[str, str, str]:
    scale, unit = (100.0, " pp") if points else (1.0, "")
    low, middle, high = (scale * found[name] for name in ("lower", "estimate", "upper"))
    proven = say("yes") if found["lower"] > 0 or found["upper"] < 0 else say("no")
    return f"{middle:,.2f}{unit}", f"[{low:,.2f}, {high:,.2f}]{unit}", str(proven)


def _name_metrics() -> dict[str, Text]:
    return {
        "incremental_profit": say("Incremental profit"),
        "incremental_revenue": say("Incremental revenue"),
        "incremental_contribution": say("Incremental contribution"),
        "incremental_orders": say("Incremental orders"),
        "roi": say("ROI"),
        "contribution_per_customer": say("Contribution per customer"),
        "contribution_per_customer_capped": say("Contribution per customer, large orders capped"),
        "revenue_per_customer": say("Revenue per customer"),
        "orders_per_customer": say("Orders per customer"),
        "relative_revenue": say("Revenue, relative change"),
        "sample_ratio_p_value": say("Sample ratio, p-value"),
    }
