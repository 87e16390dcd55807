"""``aimwell analysis events``, ``funnel`` and ``cohort``.  事件、漏斗、留存"""

from __future__ import annotations

from datetime import date, datetime, time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from aimwell.cli.output import add_row, emit, make_table, read_day, state
from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.text import Text, say

if TYPE_CHECKING:
    from aimwell.engine.funnel import Period

Until = Annotated[
    str | None,
    typer.Option("--until", help="First day not counted, YYYY-MM-DD.  截止日（当日不计入），YYYY-MM-DD"),
]
Since = Annotated[
    str | None, typer.Option("--from", help="First day of first steps, YYYY-MM-DD.  首步的起始日，YYYY-MM-DD")
]
_DAY = 86_400.0


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``aimwell analysis``."""
    app.command("events")(show_events)
    app.command("funnel")(show_funnel)
    app.command("cohort")(show_cohort)
    app.command("trend")(show_trend)


def show_events(context: typer.Context, until: Until = None) -> None:
    """List the events that there are, with customers and days.  事件列表：次数、客户数与起止日"""
    from aimwell.analysis.funnels import list_events

    end = find_end(context, until)
    with state(context).workspace.read("analysis") as reader:
        rows = list_events(reader, end=end)

    def draw(console: Console) -> None:
        table = make_table(
            str(say("Event")), str(say("Times")), str(say("Customers")), str(say("First and last day"))
        )
        for row in rows:
            days = f"{row['first_on'].isoformat()} – {row['last_on'].isoformat()}"
            add_row(table, row["name"], f"{row['events']:,}", f"{row['customers']:,}", days)
        console.print(table if rows else str(say("There are no events yet.")))

    emit(context, {"end": end.isoformat(), "events": rows}, draw)


def show_funnel(
    context: typer.Context,
    step: Annotated[
        list[str],
        typer.Option(
            "--step",
            help="An event, or orders[revenue >= 100]; in order.  步骤：事件，或 orders[revenue >= 100]；依次给出",
        ),
    ],
    within: Annotated[
        str, typer.Option(help="The whole way, such as 48h or 7d.  全程时间窗，如 48h 或 7d")
    ] = "7d",
    without: Annotated[
        list[str] | None, typer.Option(help="Ends an attempt when it happens.  发生即终止本次尝试的事件")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="A tag, attribute:NAME, or step:COLUMN of the first step.  "
            "拆分维度：标签、attribute:名称 或首步的 step:列"
        ),
    ] = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Show how far customers go through ordered steps, and where they are lost.

    转化漏斗：客户走到哪一步、在哪里流失
    """
    from aimwell.analysis.funnels import measure_funnel
    from aimwell.analysis.step_text import parse_duration, parse_step
    from aimwell.core.time import zone
    from aimwell.engine.funnel import Funnel

    workspace = state(context).workspace
    end = find_end(context, until)
    steps, exclusions = tuple(map(parse_step, step)), tuple(map(parse_step, without or ()))
    with workspace.read("analysis") as reader:
        breakdown = _read_breakdown(
            by,
            reader.query("SELECT * FROM tags LIMIT 0").column_names,
            reader.query("SELECT * FROM customers LIMIT 0").column_names,
        )
        funnel = Funnel(steps, parse_duration(within), end, read_day(since), exclusions, breakdown)
        midnight = datetime.combine(end, time(), zone(workspace.settings.business.zone))
        found = measure_funnel(reader, funnel, zone_end=midnight)
    emit(context, found, lambda console: _draw_funnel(console, found))


def show_cohort(
    context: typer.Context,
    begin: Annotated[
        str, typer.Option(help="What makes a customer begin: orders or an event.  起始行为：orders 或某事件")
    ] = "orders",
    activity: Annotated[
        str | None,
        typer.Option(
            help="What counts as being back; the beginning's, when omitted.  回访行为；省略则同起始行为"
        ),
    ] = None,
    period: Annotated[
        str, typer.Option(help="day, week or month.  周期：day 日、week 周或 month 月")
    ] = "month",
    attribute: Annotated[
        str | None, typer.Option(help="Part by this attribute instead.  改按此属性分组")
    ] = None,
    show: Annotated[
        str,
        typer.Option(
            help="classic, rolling or revenue.  显示：classic 当期、rolling 当期及以后、revenue 收入"
        ),
    ] = "classic",
    until: Until = None,
) -> None:
    """Show who comes back, by the period in which they began; what is not over yet stays empty.

    留存：按起始周期看谁回访；未结束的周期留空
    """
    from aimwell.analysis.cohorts import measure_cohorts
    from aimwell.analysis.step_text import parse_step
    from aimwell.engine.funnel import Cohort

    chosen = _read_period(period)
    if show not in _SHOWN:
        raise BadInput(
            "cli.cohort_option",
            say("'{value}' is none of the choices.", value=show),
            remedy=say("Use --show classic, rolling or revenue."),
            where={"value": show},
        )
    first = parse_step(begin)
    back = parse_step(activity) if activity else first
    cohort = Cohort(first, back, chosen, find_end(context, until), attribute)
    with state(context).workspace.read("analysis") as reader:
        found = measure_cohorts(reader, cohort)
    emit(context, found, lambda console: _draw_cohorts(console, found, show))


def show_trend(
    context: typer.Context,
    step: Annotated[
        str,
        typer.Argument(help="An event, or orders[revenue >= 100].  事件，或 orders[revenue >= 100]"),
    ],
    figure: Annotated[
        str,
        typer.Option(
            help="count, sum:COLUMN, average:COLUMN…  指标：count 次数、sum:列 合计、average:列 均值等"
        ),
    ] = "count",
    period: Annotated[
        str, typer.Option(help="day, week or month.  周期：day 日、week 周或 month 月")
    ] = "month",
    since: Annotated[
        str | None, typer.Option("--from", help="First day counted, YYYY-MM-DD.  首个计入日，YYYY-MM-DD")
    ] = None,
    until: Until = None,
) -> None:
    """Show one figure by day, week or month.  趋势：某一指标按日、周或月的变化"""
    from aimwell.analysis.series import find_start, measure_series, parse_figure
    from aimwell.analysis.step_text import parse_step
    from aimwell.engine.funnel import Series

    chosen, end, rows = _read_period(period), find_end(context, until), parse_step(step)
    series = Series(parse_figure(figure, rows), chosen, read_day(since) or find_start(end, chosen), end)
    with state(context).workspace.read("analysis") as reader:
        found = {"step": rows.name, "figure": figure, **measure_series(reader, series)}
    emit(context, found, lambda console: _draw_trend(console, found))


def find_end(context: typer.Context, until: str | None) -> date:
    """The first day not counted: as given, else the day after the newest data."""
    from aimwell.loop.clock import find_as_of

    return read_day(until) or find_as_of(state(context).workspace)


def show_duration(seconds: float | None) -> str:
    """Seconds in the unit that people would use."""
    if seconds is None:
        return ""
    for unit, length in ((say("{number} d", number="{}"), _DAY), (say("{number} h", number="{}"), 3600.0)):
        if seconds >= 2 * length:
            return str(unit).format(f"{seconds / length:.1f}")
    if seconds >= 120:
        return str(say("{number} min", number=f"{seconds / 60:.0f}"))
    return str(say("{number} s", number=f"{seconds:.0f}"))


def show_share(share: dict[str, Any] | None, *, with_interval: bool = True) -> str:
    """A share in per cent, with its interval."""
    if share is None:
        return ""
    text = f"{share['estimate']:.1%}"
    return f"{text} [{share['lower']:.1%}, {share['upper']:.1%}]" if with_interval else text


def _read_period(text: str) -> Period:
    from aimwell.engine.funnel import PERIODS

    found = next((one for one in PERIODS if one == text), None)
    if found is None:
        raise BadInput(
            "cli.unknown_period",
            say("'{value}' is none of the choices.", value=text),
            remedy=say("Use --period day, week or month."),
            where={"value": text},
        )
    return found


def _read_breakdown(by: str | None, tags: list[str], attributes: list[str]) -> Any:
    from aimwell.engine.funnel import Breakdown

    if by is None:
        return None
    kind, _, column = by.partition(":")
    if kind == "step" and column:
        return Breakdown("step", column)
    if kind == "attribute" and column in attributes:
        return Breakdown("attribute", column)
    if by in tags:
        return Breakdown("tag", by)
    raise BadInput(
        "cli.unknown_breakdown",
        say("There is no tag or attribute '{name}' to part by.", name=by),
        remedy=say(
            "Use a tag's name, attribute:NAME with one of {names}, or step:COLUMN.",
            names=join_list(sorted(attributes)),
        ),
        where={"value": by},
    )


def _draw_funnel(console: Console, found: dict[str, Any]) -> None:
    table = make_table(
        str(say("Step")),
        str(say("Customers")),
        str(say("From the step before")),
        str(say("From the first")),
        str(say("Median time")),
        str(say("Lost here")),
    )
    for number, row in enumerate(found["steps"], 1):
        last = number == len(found["steps"])
        add_row(
            table,
            f"{number} {row['name']}",
            f"{row['customers']:,}",
            show_share(row["from_previous"]) if number > 1 else "",
            show_share(row["from_first"], with_interval=False),
            show_duration(row["seconds_from_previous"]["p50"]),
            "" if last else f"{row['lost']:,}",
        )
    console.print(table)
    for row in found["steps"]:
        if row["next"]:
            console.print(str(_say_instead(row)), highlight=False, markup=False)
    if found["still_open"]:
        text = say("{count} of them still have time to go on.", count=found["still_open"])
        console.print(str(text), style="yellow", highlight=False, markup=False)
    if found["breakdown"]:
        _draw_breakdown(console, found)


def _say_instead(row: dict[str, Any]) -> Text:
    listed = [f"{one['name'] or say('nothing else')} {one['share']:.0%}" for one in row["next"][:4]]
    return say("After '{step}', who went no further did: {list}", step=row["name"], list=join_list(listed))


def _draw_breakdown(console: Console, found: dict[str, Any]) -> None:
    names = [row["name"] for row in found["steps"]]
    table = make_table(str(say("Part")), *names, str(say("Completed")))
    for row in found["breakdown"]:
        value = str(say("others")) if row["others"] else row["value"] or str(say("unknown"))
        add_row(table, value, *(f"{count:,}" for count in row["steps"]), show_share(row["completed"]))
    console.print(table)


_SHOWN = {"classic": "share", "rolling": "rolling", "revenue": "revenue_per_customer"}
_MOST_COLUMNS = 14


def _draw_cohorts(console: Console, found: dict[str, Any], show: str) -> None:
    titles = {
        "day": say("Who came back, by day"),
        "week": say("Who came back, by week"),
        "month": say("Who came back, by month"),
    }
    console.print(str(titles[found["period"]]), style="bold", highlight=False)
    width = min(max(len(row["cells"]) for row in found["cohorts"]), _fit_columns(console))
    table = make_table(str(say("Began")), str(say("Customers")), *(f"+{offset}" for offset in range(width)))
    for row in found["cohorts"]:
        cells = [*row["cells"], *[None] * width][:width]
        label = row["label"] if row["label"] is not None else str(say("unknown"))
        add_row(table, label, f"{row['customers']:,}", *(_show_cell(cell, show) for cell in cells))
    overall = [*found["overall"], *[None] * width][:width]
    if show != "revenue":
        add_row(
            table, str(say("All")), f"{found['customers']:,}", *(_show_cell(cell, show) for cell in overall)
        )
    console.print(table)
    console.print(
        str(say("Empty: that period is not over yet, so nothing is known of it.")),
        style="dim",
        highlight=False,
    )
    if found["first_is_open"]:
        text = say("The first row also holds those who began before the data does.")
        console.print(str(text), style="dim", highlight=False)


_BAR = 30


def _draw_trend(console: Console, found: dict[str, Any]) -> None:
    title = f"{found['step']} · {_name_figure(found['function'], found['column'])}"
    console.print(title, style="bold", highlight=False, markup=False)
    table = make_table(str(say("From day")), str(say("Figure")), str(say("Rows")), "")
    greatest = max((abs(row["figure"] or 0.0) for row in found["periods"]), default=0.0)
    for row in found["periods"]:
        value = row["figure"]
        text = "" if value is None else f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"
        bar = "" if not value or value < 0 else "█" * max(round(_BAR * value / greatest), 1)
        start = row["start"] if row["whole"] else f"{row['start']} *"
        add_row(table, start, text, f"{row['rows']:,}", bar)
    console.print(table)
    if not all(row["whole"] for row in found["periods"]):
        note = say(
            "* not whole: days before {start} or from {end} on are not counted.",
            start=found["start"],
            end=found["end"],
        )
        console.print(str(note), style="dim", highlight=False, markup=False)

    if not any(row["rows"] for row in found["periods"]):
        note = say(
            "Nothing of '{step}' happened in these days. See which events there are with: aimwell analysis events",
            step=found["step"],
        )
        console.print(str(note), style="yellow", highlight=False, markup=False)


def _name_figure(function: str, column: str | None) -> Text:
    named = column or ""
    match function:
        case "sum":
            return say("sum of {column}", column=named)
        case "average":
            return say("average of {column}", column=named)
        case "min":
            return say("least {column}", column=named)
        case "max":
            return say("greatest {column}", column=named)
        case "count_distinct":
            if column == "customer_id":
                return say("customers")
            return say("different values of {column}", column=named)
    return say("rows with {column}", column=named) if named else say("count")


def _fit_columns(console: Console) -> int:
    return max(min(_MOST_COLUMNS, (console.width - 30) // 8), 3)


def _show_cell(cell: dict[str, Any] | None, show: str) -> str:
    if cell is None:
        return ""
    value = cell[_SHOWN[show]]
    if show == "revenue":
        return "" if value is None else f"{value:,.2f}"
    return f"{value['estimate']:.1%}"
