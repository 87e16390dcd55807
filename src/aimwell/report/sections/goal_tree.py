"""The company's goal: its drivers, the campaigns that serve it, and where it will end at this pace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aimwell.core.text import say
from aimwell.report.charts import Axis, Band, Curves, Line, Mark
from aimwell.report.figures import NONE, Unit, show, show_date, show_interval
from aimwell.report.markup import Both, Child, Html, make, make_both
from aimwell.report.parts import (
    make_card,
    make_chart,
    make_facts,
    make_pill,
    make_points,
    make_quiet,
    make_table,
)
from aimwell.report.reading import (
    Material,
    read_figure,
    read_map,
    read_number,
    read_rows,
    read_text,
    read_texts,
)

_TONES = {"ahead": "gain", "reached": "gain", "behind": "loss", "missed": "loss"}
_UNITS: dict[str, Unit] = {"money": "money", "orders": "count", "customers": "count", "ratio": "ratio"}


def make_company_goal(material: Material) -> tuple[Html, ...]:
    """The cards; none where no company's goal is set."""
    part = material.part("company_goal")
    problem = read_text(part.get("problem"))
    if problem.en:
        return (make_card(say("The company's goal"), make_quiet(problem), span=12),)
    tree, pace = read_map(part.get("tree")), read_map(part.get("pace"))
    if not tree:
        return ()
    currency = material.currency
    return (
        _make_drivers(tree, currency, simulated=material.simulated),
        _make_campaigns(tree, currency),
        _make_pace(pace, currency, simulated=material.simulated),
    )


def _make_drivers(tree: Mapping[str, Any], currency: str, *, simulated: bool) -> Html:
    head: list[Child] = [
        say("Driver"),
        say("Baseline"),
        say("alone it takes"),
        say("share"),
        say("brings"),
    ]
    rows = [
        _list_cells(row, read_text(tree.get("unit")).en, currency) for row in read_rows(tree.get("drivers"))
    ]
    note = say(
        "What each driver must become to reach the goal alone, and its part when all share it. Parts add up exactly."
    )
    return make_card(
        say("What the goal is made of"), make_table(head, rows), span=7, simulated=simulated, note=note
    )


def _list_cells(row: Mapping[str, Any], total: str, currency: str) -> list[Child]:
    unit = _UNITS.get(str(row.get("unit")), "plain")
    depth = int(read_number(row.get("depth")) or 0)
    title = read_text(row.get("title"))
    indent = "\u2002" * depth
    alone, change = read_number(row.get("alone")), read_number(row.get("alone_change"))
    needs: Child = None
    if row.get("kind") == "leaf":
        needs = say("cannot alone")
        if alone is not None:
            needs = make(
                "span",
                show(alone, unit, currency),
                " ",
                make("span", show(change, "percent", currency, signed=True), class_="quiet"),
            )
    return [
        Both(indent + title.en, indent + title.zh),
        show(read_number(row.get("baseline")), unit, currency),
        needs,
        show(read_number(row.get("share")), "percent", currency),
        show(read_number(row.get("part")), _UNITS.get(total, "money"), currency),
    ]


def _make_campaigns(tree: Mapping[str, Any], currency: str) -> Html:
    unit = _UNITS.get(str(tree.get("unit")), "money")
    goal = read_map(tree.get("goal"))
    facts: list[tuple[Child, Child]] = [
        (say("Goal"), make("b", read_text(goal.get("name")), " · ", read_text(goal.get("title")))),
        (say("Baseline"), show(read_number(goal.get("baseline")), unit, currency)),
        (say("Target"), show(read_number(goal.get("target")), unit, currency)),
        (say("to be gained"), show(read_number(tree.get("wanted")), unit, currency)),
        (say("assigned to campaigns"), show(read_number(tree.get("assigned")), unit, currency)),
        (say("assigned to none"), make("b", show(read_number(tree.get("gap")), unit, currency))),
    ]
    rows: list[list[Child]] = [
        [
            "\u2002" * depth + str(campaign.get("name")),
            read_text(campaign.get("title")),
            show(read_number(campaign.get("amount")), unit, currency),
        ]
        for campaign, depth in _walk(tree)
    ]
    head: list[Child] = [say("Campaign"), say("Metric"), say("brings")]
    table = make_table(head, rows, names=2) if rows else None
    return make_card(
        say("Who takes which part"),
        make_facts(facts),
        table,
        make_points(read_texts(tree.get("sentences"))),
        span=5,
    )


def _walk(node: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[Mapping[str, Any], int]]:
    for campaign in read_rows(node.get("campaigns")):
        yield campaign, depth
        yield from _walk(campaign, depth + 1)


def _make_pace(pace: Mapping[str, Any], currency: str, *, simulated: bool) -> Html:
    unit = _UNITS.get(str(pace.get("unit")), "plain")
    status = str(pace.get("status"))
    forecast = read_figure(pace.get("forecast"))
    pill = make_pill(read_text(pace.get("status_title"), status), _TONES.get(status, "amber"))
    facts: list[tuple[Child, Child]] = [
        (say("Status"), pill),
        (say("Observed"), show(read_number(pace.get("observed")), unit, currency)),
        (say("Expected by now"), show(read_number(pace.get("expected")), unit, currency)),
        (
            say("Forecast"),
            NONE
            if forecast is None
            else make(
                "span", show(forecast.estimate, unit, currency), " ", show_interval(forecast, unit, currency)
            ),
        ),
        (say("Target"), show(read_number(pace.get("target")), unit, currency)),
    ]
    chart = make_chart(
        _draw_path(pace, unit), say("Observed path, the target's path and the forecast"), currency=currency
    )
    body = make_points(read_texts(pace.get("sentences")))
    until = read_map(pace.get("goal")).get("window")
    start = read_map(until).get("start")
    note = show_date(start) if start else None
    return make_card(
        say("Where it will end"),
        make_facts(facts, "columns"),
        chart,
        body,
        span=12,
        simulated=simulated,
        note=note,
    )


def _draw_path(pace: Mapping[str, Any], unit: Unit) -> Curves:
    days = read_rows(pace.get("path"))
    observed = [
        (float(at), value)
        for at, row in enumerate(days, start=1)
        if (value := read_number(row.get("observed"))) is not None
    ]
    expected = [
        (float(at), value)
        for at, row in enumerate(days, start=1)
        if (value := read_number(row.get("expected"))) is not None
    ]
    lines = [Line(make_both(say("Observed")), observed, "accent")]
    if expected:
        lines.append(Line(make_both(say("path to the target")), expected, "quiet", dashed=True))
    bands: list[Band] = []
    marks: list[Mark] = []
    forecast, last = read_figure(pace.get("forecast")), observed[-1] if observed else None
    if forecast is not None and forecast.lower is not None and forecast.upper is not None and last:
        end = float(len(days))
        name = make_both(say("Forecast"))
        bands.append(Band(name, [(last[0], last[1], last[1]), (end, forecast.lower, forecast.upper)]))
        marks.append(Mark(end, forecast.estimate, name))
    return Curves(
        Axis(make_both(say("day of the window")), "count"),
        Axis(read_text(read_map(pace.get("goal")).get("title")), unit),
        lines if any(len(line.points) > 1 for line in lines) else [],
        bands,
        marks,
    )
