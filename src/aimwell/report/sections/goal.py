"""Section 1: the goal, where the business stands today, and whether this audience can show the effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aimwell.core.text import say
from aimwell.report.charts import Axis
from aimwell.report.figures import NONE, Unit, show, show_date, show_interval, show_sample
from aimwell.report.forest import Forest, ForestRow
from aimwell.report.markup import Both, Child, Html, make, make_both
from aimwell.report.parts import (
    make_card,
    make_chart,
    make_facts,
    make_lacks,
    make_pill,
    make_section,
    make_tile,
)
from aimwell.report.reading import Figure, Material, read_figure, read_map, read_number, read_text
from aimwell.report.sections.goal_tree import make_company_goal

_UNITS: dict[str, Unit] = {
    "money": "money",
    "currency": "money",
    "percent": "percent",
    "share": "percent",
    "rate": "percent",
    "count": "count",
    "orders": "ratio",
    "customers": "count",
    "ratio": "ratio",
}


def make_goal(material: Material) -> Html:
    """The section."""
    goal = material.part("goal")
    missing = say(
        "No goal is set: it takes an objective, a metric, a target, a window and a budget (`aimwell goals --help`)."
    )
    cards = [_make_tiles(goal, material), _make_baseline(goal, material), _make_feasibility(goal, material)]
    return make_section(
        "goal",
        1,
        say("Goals"),
        say(
            "What is to be reached, from where, by when and for how much; and whether this audience can show it."
        ),
        *(cards if material.has("goal") else ()),
        *make_company_goal(material),
        make_lacks(goal, missing),
    )


def read_unit(name: object) -> Unit:
    """The way to write a metric's values, from the unit that its definition names."""
    if isinstance(name, str) and len(name) == 3 and name.isupper():
        return "money"
    return _UNITS.get(str(name), "plain")


def find_family(name: object) -> Both:
    """The objective family in both languages."""
    families = {
        "retention": say("retention"),
        "growth": say("growth"),
        "activation": say("activation"),
        "acquisition": say("acquisition"),
    }
    return make_both(families.get(str(name), str(name or "—")))


def _make_tiles(goal: Mapping[str, Any], material: Material) -> Html:
    unit, window = read_unit(read_map(goal.get("metric")).get("unit")), read_map(goal.get("window"))
    baseline = read_figure(goal.get("baseline"))
    under = None
    if baseline:
        under = make("span", show_interval(baseline, unit, material.currency), " ", show_sample(baseline))
    days = read_number(window.get("days"))
    value = show(baseline.estimate, unit, material.currency) if baseline else NONE
    return make(
        "div",
        make_tile(say("Baseline"), value, under),
        make_tile(say("Target"), *_show_target(goal, baseline, unit, material.currency)),
        make_tile(
            say("Window"),
            say("{days} days", days=f"{days:.0f}") if days is not None else "—",
            show_date(window.get("start")) if window.get("start") else None,
        ),
        make_tile(say("Budget"), show(read_number(goal.get("budget")), "money", material.currency)),
        class_="kpis four span-12",
    )


def _show_target(
    goal: Mapping[str, Any], baseline: Figure | None, unit: Unit, currency: str
) -> tuple[Child, Child]:
    """The metric's value to reach, and under it the change against the baseline; either may be unknown."""
    target, change = read_number(goal.get("target")), read_number(goal.get("target_change"))
    if change is None and target is not None and baseline and baseline.estimate:
        change = target / baseline.estimate - 1
    if change is None:
        return show(target, unit, currency), None
    share, against = show(change, "percent", currency, signed=True), say("against the baseline")
    if target is None:
        return share, against
    return show(target, unit, currency), make("span", share, " ", against)


def _make_baseline(goal: Mapping[str, Any], material: Material) -> Html:
    metric = read_map(goal.get("metric"))
    unit, baseline = read_unit(metric.get("unit")), read_figure(goal.get("baseline"))
    title = read_text(metric.get("title"), metric.get("name") or "—")
    sql = metric.get("sql")
    definition = None
    if isinstance(sql, str) and sql:
        definition = make("details", make("summary", say("How it is computed (SQL)")), make("pre", sql))
    rows = [ForestRow(make_both(say("Baseline")), baseline, tone="accent")] if baseline else []
    target = read_number(goal.get("target"))
    if target is not None and baseline:
        rows.append(ForestRow(make_both(say("Target")), Figure(target), tone="amber"))
    chart = make_chart(
        Forest(rows, Axis(title, unit)),
        say("Baseline with its interval, and the target"),
        currency=material.currency,
        height="tiny",
    )
    facts: list[tuple[Child, Child]] = [
        (say("Goal"), make("b", read_text(goal.get("title"), goal.get("name") or "—"))),
        (say("Objective"), read_text(goal.get("family_title"), find_family(goal.get("family")))),
        (say("Metric"), title),
    ]
    return make_card(say("From baseline to target"), make_facts(facts), chart, definition, span=7)


def _make_feasibility(goal: Mapping[str, Any], material: Material) -> Html:
    feasibility = read_map(goal.get("feasibility"))
    enough, unit = feasibility.get("enough"), read_unit(feasibility.get("unit"))
    smallest = read_number(feasibility.get("smallest_effect"))
    relative = read_number(feasibility.get("relative"))
    verdict = (
        make_pill(say("enough customers"), "gain") if enough else make_pill(say("too few customers"), "amber")
    )
    facts: list[tuple[Child, Child]] = [
        (say("Audience"), show(read_number(feasibility.get("audience")), "count", material.currency)),
        (
            say("Control group"),
            show(read_number(feasibility.get("control_share")), "percent", material.currency),
        ),
        (say("Smallest effect that can be shown"), show(smallest, unit, material.currency)),
        (say("relative to the baseline"), show(relative, "percent", material.currency)),
        (say("Verdict"), verdict if isinstance(enough, bool) else "—"),
    ]
    sentence = read_text(feasibility.get("sentence"))
    return make_card(
        say("Can this audience show it?"), make_facts(facts), make("p", sentence, class_="say"), span=5
    )
