"""``aimwell analysis``: tags, segments, a rule tried out; what is over time stands in modules of its own."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aimwell.cli import flows, funnels, segments, tags
from aimwell.cli.help import App
from aimwell.cli.output import emit, emit_result, in_language, read_day, state
from aimwell.core.lists import join_list
from aimwell.core.text import say

app = App(help="Step 3: analysis.  第三步 客户分析")
app.add_typer(segments.app, name="segment")
funnels.register(app)
flows.register(app)
tags.register(app)


@app.command("run")
def run_analysis(
    context: typer.Context,
    as_of: Annotated[
        str | None,
        typer.Option(
            help="First business day not known, YYYY-MM-DD.  截止日：此日起的数据视为未知，YYYY-MM-DD"
        ),
    ] = None,
) -> None:
    """Compute tags and segments of all customers.  计算全部客户的标签与分群"""
    from aimwell.analysis.step import describe
    from aimwell.loop.clock import find_as_of

    workspace = state(context).workspace
    result = describe(workspace, as_of=read_day(as_of) or find_as_of(workspace))
    emit_result(context, result, lambda console: _draw_summary(console, result.summary))


@app.command("segments")
def list_segments(context: typer.Context) -> None:
    """List the segments with their rules and sizes.  分群列表：规则与人数"""
    from aimwell.analysis.segment_lacks import find_lacks
    from aimwell.analysis.segments import read_as_of, read_segments

    with state(context).workspace.read("analysis") as reader:
        lacks = find_lacks(reader, as_of=read_as_of(reader))
        rows = [
            {**row, "lacks": lacks[row["name"]].both() if row["name"] in lacks else None}
            for row in read_segments(reader)
        ]
    emit(context, {"segments": rows}, lambda console: _draw_segments(console, rows))


def _draw_summary(console: Console, summary: dict[str, Any]) -> None:
    if not summary:
        return
    text = say(
        "{customers} customers, {tags} tags, {segments} segments as of {day}",
        customers=f"{summary['customers']:,}",
        tags=summary["tags"]["count"],
        segments=len(summary["segments"]),
        day=summary["as_of"],
    )
    console.print(str(text), style="bold", highlight=False)
    _draw_segments(console, summary["segments"])
    _draw_stages(console, summary["lifecycle"])
    top = summary["value"]["top20_revenue_share"]
    if top is not None:
        console.print(str(say("The best 20 % of buyers bring {share} of the revenue.", share=f"{top:.1%}")))


def _draw_stages(console: Console, rows: list[dict[str, Any]]) -> None:
    if not any(row["customers"] for row in rows):
        text = say(
            "Nobody has a lifecycle stage: it goes by the rhythm of orders. Where there are events, "
            "'aimwell analysis flows' shows stages by activity, 'aimwell analysis rfm' how recently and how often "
            "customers do anything."
        )
        console.print(f"• {text}", style="yellow", highlight=False, markup=False)
        return
    stages = Table(str(say("Lifecycle stage")), str(say("Customers")), str(say("Revenue")))
    for row in rows:
        _add_row(stages, in_language(row["title"]), f"{row['customers']:,}", f"{row['revenue']:,.0f}")
    console.print(stages)


def _draw_segments(console: Console, rows: list[dict[str, Any]]) -> None:
    table = Table(
        str(say("Segment")),
        str(say("Rule")),
        str(say("Customers")),
        str(say("Share")),
        str(say("Revenue share")),
    )
    for row in rows:
        revenue = row["revenue_share"]
        _add_row(
            table,
            in_language(row["title"]),
            in_language(row["rule_text"]),
            f"{row['size']:,}",
            f"{row['share']:.1%}",
            "" if revenue is None else f"{revenue:.1%}",
        )
    console.print(table)
    for why, titles in _group_lacks(rows).items():
        text = say("Empty for lack of data: {segments}. {why}", segments=join_list(titles), why=why)
        console.print(f"• {text}", style="yellow", highlight=False, markup=False)


def _group_lacks(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    """What is lacking, and the titles of the segments that it keeps empty."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row["lacks"]:
            found.setdefault(in_language(row["lacks"]), []).append(in_language(row["title"]))
    return found


def _add_row(table: Table, *cells: str) -> None:
    # Ids and attributes are the customer's own words: a bracket in them is no markup.
    table.add_row(*(escape(cell) for cell in cells))
