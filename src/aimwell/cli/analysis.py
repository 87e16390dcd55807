"""``aimwell analysis``: tags, segments, a rule tried out; and ``aimwell customer ID``."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aimwell.cli.output import emit, emit_result, in_language, read_day, state
from aimwell.core.text import say

app = typer.Typer(help="Step 3: analysis.  客户分析", no_args_is_help=True)
segment_app = typer.Typer(help="Try out and keep segments.  分群", no_args_is_help=True)
app.add_typer(segment_app, name="segment")

RuleOption = Annotated[
    str, typer.Option("--rule", help="Such as: recency_days > 30 and orders_90d >= 3.  分群规则")
]


@app.command("run")
def run_analysis(
    context: typer.Context,
    as_of: Annotated[
        str | None, typer.Option(help="First business day not known, YYYY-MM-DD.  截止日")
    ] = None,
) -> None:
    """Compute tags and segments of all customers.  计算标签与分群"""
    from aimwell.analysis.step import describe
    from aimwell.loop.clock import find_as_of

    workspace = state(context).workspace
    result = describe(workspace, as_of=read_day(as_of) or find_as_of(workspace))
    emit_result(context, result, lambda console: _draw_summary(console, result.summary))


@app.command("tags")
def list_tags(context: typer.Context) -> None:
    """List the tags: what they mean, and for how many customers they are known.  标签目录"""
    from aimwell.analysis.catalogue import find_tags
    from aimwell.analysis.segments import read_as_of
    from aimwell.analysis.summary import summarise_tags

    with state(context).workspace.read() as reader:
        read_as_of(reader)
        table = reader.query("SELECT * FROM tags")
    payload = summarise_tags(table, find_tags(table.column_names))
    emit(context, payload, lambda console: _draw_tags(console, payload["catalogue"]))


@app.command("segments")
def list_segments(context: typer.Context) -> None:
    """List the segments with their rules and sizes.  分群列表"""
    from aimwell.analysis.segments import read_as_of, read_segments

    with state(context).workspace.read() as reader:
        read_as_of(reader)
        rows = read_segments(reader)
    emit(context, {"segments": rows}, lambda console: _draw_segments(console, rows))


@segment_app.command("preview")
def preview_segment(context: typer.Context, rule: RuleOption) -> None:
    """Show whom a rule would hold, without keeping it.  预览分群"""
    from aimwell.analysis.catalogue import describe_tag_rule
    from aimwell.analysis.rule_text import parse_rule
    from aimwell.analysis.segments import preview_rule, read_as_of, read_tag_types

    parsed = parse_rule(rule)
    with state(context).workspace.read() as reader:
        as_of = read_as_of(reader)
        types = read_tag_types(reader.query("SELECT * FROM tags LIMIT 0").schema)
        found = preview_rule(reader, parsed, types, as_of=as_of)
    words = describe_tag_rule(parsed)
    payload = {"rule_text": words.both(), "as_of": as_of.isoformat(), **found}

    def draw(console: Console) -> None:
        console.print(str(words), style="bold", highlight=False, markup=False)
        console.print(
            str(say("{size} of {customers} customers", size=found["size"], customers=found["customers"]))
        )
        if found["revenue_share"] is not None:
            console.print(str(say("{share} of the revenue", share=f"{found['revenue_share']:.1%}")))
        if found["examples"]:
            console.print(str(say("For example: {ids}", ids=", ".join(found["examples"]))), markup=False)

    emit(context, payload, draw)


@segment_app.command("save")
def save_segment_command(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and _.  分群代码")],
    rule: RuleOption,
    title: Annotated[str | None, typer.Option(help="The name for people.  分群名称")] = None,
) -> None:
    """Keep a rule as a segment; the next run of the analysis fills it.  保存分群"""
    from aimwell.analysis.rule_text import parse_rule
    from aimwell.analysis.segments import read_as_of, read_tag_types, save_segment
    from aimwell.engine.rule import validate_rule

    parsed = parse_rule(rule)
    workspace = state(context).workspace
    with workspace.read() as reader:
        read_as_of(reader)
        validate_rule(parsed, read_tag_types(reader.query("SELECT * FROM tags LIMIT 0").schema))
    version = save_segment(workspace.store, name, parsed, title=title)
    message = say(
        "The segment {name} is kept (version {version}). Next: aimwell analysis run",
        name=name,
        version=version,
    )
    payload = {"segment": name, "version": version, "message": message.both()}
    emit(context, payload, lambda console: console.print(str(message), highlight=False))


def show_customer(context: typer.Context, customer_id: str) -> None:
    """Print the customer 360 of one customer: the command ``aimwell customer ID``."""
    from aimwell.analysis.profile import read_profile

    with state(context).workspace.read() as reader:
        profile = read_profile(reader, customer_id)
    emit(context, profile, lambda console: _draw_profile(console, profile))


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
    stages = Table(str(say("Lifecycle stage")), str(say("Customers")), str(say("Revenue")))
    for row in summary["lifecycle"]:
        _add_row(stages, in_language(row["title"]), f"{row['customers']:,}", f"{row['revenue']:,.0f}")
    console.print(stages)
    top = summary["value"]["top20_revenue_share"]
    if top is not None:
        console.print(str(say("The best 20 % of buyers bring {share} of the revenue.", share=f"{top:.1%}")))


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


def _draw_tags(console: Console, catalogue: list[dict[str, Any]]) -> None:
    kinds = {
        "descriptive": say("descriptive"),
        "behavioural": say("behavioural"),
        "associated": say("associated"),
    }
    table = Table(
        str(say("Tag")), str(say("Name")), str(say("Kind")), str(say("Meaning")), str(say("Known for"))
    )
    for row in catalogue:
        _add_row(
            table,
            row["name"],
            in_language(row["title"]),
            str(kinds[row["kind"]]),
            in_language(row["description"]),
            f"{row['coverage']:.0%}",
        )
    console.print(table)


def _draw_profile(console: Console, profile: dict[str, Any]) -> None:
    console.print(
        f"[bold]{say('Customer {customer}', customer=profile['customer_id'])}[/bold]", highlight=False
    )
    tags = Table(str(say("Tag")), str(say("Value")), title=str(say("Tags")))
    for row in profile["tags"]:
        _add_row(
            tags, in_language(row["title"]), in_language(row["value_title"]) or _show_value(row["value"])
        )
    console.print(tags)
    names = ", ".join(in_language(row["title"]) or row["segment"] for row in profile["segments"])
    console.print(str(say("Segments: {names}", names=names or "–")), highlight=False, markup=False)
    _draw_scores(console, profile["scores"])
    _draw_orders(console, profile["orders"])
    _draw_events(console, profile["events"])
    _draw_consents(console, profile["consents"])
    _draw_plans(console, profile["plan_items"])


def _draw_scores(console: Console, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    table = Table(str(say("Model")), str(say("Score")), str(say("95 % interval")), title=str(say("Scores")))
    for row in rows:
        known = row["lower"] is not None and row["upper"] is not None
        interval = f"{_show_value(row['lower'])} … {_show_value(row['upper'])}" if known else ""
        _add_row(table, row["model"], _show_value(row["score"]), interval)
    console.print(table)


def _draw_orders(console: Console, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    table = Table(
        str(say("Order")),
        str(say("Day")),
        str(say("Lines")),
        str(say("Revenue")),
        title=str(say("Last orders")),
    )
    for row in rows:
        marked = (
            str(say("{order} (simulated)", order=row["order_id"])) if row["simulated"] else row["order_id"]
        )
        _add_row(table, marked, row["ordered_on"].isoformat(), str(row["lines"]), _show_value(row["revenue"]))
    console.print(table)


def _draw_events(console: Console, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    table = Table(str(say("Event")), str(say("Day")), str(say("Channel")), title=str(say("Last events")))
    for row in rows:
        marked = str(say("{order} (simulated)", order=row["name"])) if row["simulated"] else row["name"]
        _add_row(table, marked, row["occurred_on"].isoformat(), row["channel"] or "")
    console.print(table)


def _draw_consents(console: Console, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        word = (
            say("{channel}: allowed", channel=row["channel"])
            if row["allowed"]
            else say("{channel}: not allowed", channel=row["channel"])
        )
        console.print(
            str(say("Consent, {purpose}: {word}", purpose=row["purpose"], word=word)), highlight=False
        )


def _draw_plans(console: Console, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        action = in_language(row["title"]) or row["action_id"]
        text = say(
            "Planned: {action}, expected profit {profit}. {reason}",
            action=action,
            profit=_show_value(row["expected_profit"]),
            reason=in_language(row["reason"]),
        )
        console.print(str(text), highlight=False, markup=False)


def _add_row(table: Table, *cells: str) -> None:
    # Ids and attributes are the customer's own words: a bracket in them is no markup.
    table.add_row(*(escape(cell) for cell in cells))


def _show_value(value: object) -> str:
    if isinstance(value, bool):
        return str(say("yes")) if value else str(say("no"))
    if isinstance(value, float):
        return f"{value:,.2f}"
    return "" if value is None else str(value)
