"""How ``aimwell goals`` draws what it answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from aimwell.cli.output import add_row, in_language, make_number_table, make_table
from aimwell.core.errors import BadInput
from aimwell.core.text import Text, say
from aimwell.goals.company import Measure, find_measure
from aimwell.goals.summary import show_figure, show_level, show_total, summarise_change

if TYPE_CHECKING:
    from aimwell.goals.tree import Split


def read_split(value: str) -> Split:
    """``swing``, ``equal``, or shares such as ``retained=0.5,order_value=0.5``; BadInput when it is none of these."""
    if value in ("swing", "equal"):
        return "swing" if value == "swing" else "equal"
    try:
        pairs = [part.split("=") for part in value.split(",")]
        return {name.strip(): float(share) for name, share in pairs}
    except ValueError as error:
        raise BadInput(
            "cli.bad_split",
            say("'{value}' is not a way to split a goal.", value=value),
            remedy=say("Use swing, equal, or shares such as retained=0.5,order_value=0.5."),
            where={"value": value},
        ) from error


def draw_goal(console: Console, summary: dict[str, Any]) -> None:
    """A campaign's goal, its baseline and its feasibility."""
    _print_title(console, summary["title"])
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
    _print_sentences(console, summary["feasibility"]["sentences"])


def draw_company(console: Console, summary: dict[str, Any]) -> None:
    """A company's goal: from where to where, by when."""
    measure, currency = find_measure(summary["measure"]), summary["currency"]
    _print_title(console, summary["title"])
    window, past = summary["window"], summary["baseline_window"]
    text = say(
        "From {baseline} ({past}, {days} days) to {target} ({start}, {days} days)",
        baseline=show_total(summary["baseline"], measure, currency),
        past=past["start"],
        days=window["days"],
        target=show_total(summary["target"], measure, currency),
        start=window["start"],
    )
    console.print(str(text), highlight=False)


def draw_list(console: Console, goals: Sequence[dict[str, Any]]) -> None:
    """All goals, one a row."""
    table = make_table(*map(str, (say("Goal"), say("Metric"), say("Window"), say("Target"), say("Serves"))))
    for goal in goals:
        change = goal.get("target_change")
        if change is None:
            change = goal["target"] / goal["baseline"] - 1 if goal["baseline"] else None
        days = say("{days} days", days=goal["window"]["days"])
        add_row(
            table,
            goal["name"],
            in_language(goal["title"]),
            f"{goal['window']['start']}, {days}",
            summarise_change(change),
            goal.get("parent") or "–",
        )
    console.print(table)


def draw_tree(console: Console, payload: dict[str, Any]) -> None:
    """Drivers, campaigns, what is left."""
    goal, currency = payload["goal"], payload["currency"]
    measure = find_measure(payload["measure"])
    if goal["kind"] == "company":
        draw_company(console, goal | {"currency": currency})
        _draw_drivers(console, payload["drivers"], measure, currency)
    else:
        _print_title(console, goal["title"])
    if payload["campaigns"]:
        table = make_number_table(
            say("Campaign"), say("Metric"), say("Audience"), say("Target"), say("Window"), say("brings")
        )
        for campaign, depth in _walk(payload["campaigns"]):
            amount = campaign["amount"]
            add_row(
                table,
                "  " * depth + campaign["name"],
                in_language(campaign["title"]),
                campaign["segment"] or str(say("everybody")),
                summarise_change(campaign["target_change"]),
                f"{campaign['window']['start']}, {say('{days} days', days=campaign['window']['days'])}",
                "–" if amount is None else show_total(amount, measure, currency),
            )
        console.print(table)
    _print_sentences(console, payload["sentences"])


def _draw_drivers(console: Console, rows: Sequence[dict[str, Any]], measure: Measure, currency: str) -> None:
    """What each driver must do alone, then what it does in the split: two tables, as one would be too wide."""
    needs = make_number_table(say("Driver"), say("Baseline"), say("usual change"), say("alone it takes"))
    split = make_number_table(
        say("Driver"), say("share"), say("then it is"), say("brings"), say("last change")
    )
    for row in rows:
        title = "  " * row["depth"] + in_language(row["title"])
        unit, usual, last = row["unit"], row["usual_change"], row["last_part"]
        add_row(
            needs,
            title,
            show_level(row["baseline"], unit, currency),
            "–" if usual is None else f"±{usual:.1%}",
            _show_alone(row, currency),
        )
        add_row(
            split,
            title,
            f"{row['share']:.0%}",
            f"{show_level(row['together'], unit, currency)} ({summarise_change(row['together_change'])})",
            show_total(row["part"], measure, currency),
            "–" if last is None else show_total(last, measure, currency),
        )
    console.print(needs)
    console.print()
    console.print(split)


def _show_alone(row: dict[str, Any], currency: str) -> str:
    if row["kind"] != "leaf":
        return ""
    if row["alone"] is None:
        return str(say("cannot alone"))
    return f"{show_level(row['alone'], row['unit'], currency)} ({summarise_change(row['alone_change'])})"


def draw_pace(console: Console, payload: dict[str, Any]) -> None:
    """Where a goal stands, in figures and in words."""
    goal, unit, currency = payload["goal"], payload["unit"], payload["currency"]
    _print_title(console, goal["title"])
    table = make_number_table(
        say("Baseline"),
        say("Target"),
        say("Observed"),
        say("Expected by now"),
        say("Forecast"),
        say("Status"),
    )
    forecast, expected = payload["forecast"], payload["expected"]
    shown = "–"
    if forecast is not None:
        parts = (show_figure(forecast[name], unit, currency) for name in ("estimate", "lower", "upper"))
        shown = "{} [{}, {}]".format(*parts)
    add_row(
        table,
        show_figure(payload["baseline"], unit, currency),
        show_figure(payload["target"], unit, currency),
        show_figure(payload["observed"], unit, currency),
        "–" if expected is None else show_figure(expected, unit, currency),
        shown,
        in_language(payload["status_title"]),
    )
    console.print(table)
    _print_sentences(console, payload["sentences"])


def _walk(campaigns: Iterable[dict[str, Any]], depth: int = 0) -> Iterable[tuple[dict[str, Any], int]]:
    for campaign in campaigns:
        yield campaign, depth
        yield from _walk(campaign["campaigns"], depth + 1)


def _print_title(console: Console, title: dict[str, str] | str | Text) -> None:
    console.print(str(title) if isinstance(title, Text) else in_language(title), style="bold", markup=False)


def _print_sentences(console: Console, sentences: Iterable[dict[str, str]]) -> None:
    for sentence in sentences:
        console.print(in_language(sentence), highlight=False, markup=False)
