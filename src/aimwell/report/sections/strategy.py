"""Section 4: the plan: what each customer gets, what the budget buys, and what the limits cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aimwell.core.text import say
from aimwell.report.charts import Axis, Band, Bars, BarSeries, Curves, Line, Mark, is_rising
from aimwell.report.figures import find_tone, show, show_effect, show_interval, show_sample
from aimwell.report.markup import Both, Child, Html, fill, join, make, make_both
from aimwell.report.parts import (
    make_card,
    make_chart,
    make_facts,
    make_lacks,
    make_meter,
    make_pill,
    make_quiet,
    make_section,
    make_simulated,
    make_split,
    make_table,
    make_tile,
)
from aimwell.report.reading import (
    Material,
    read_figure,
    read_map,
    read_number,
    read_pairs,
    read_rows,
    read_text,
)


def make_strategy(material: Material) -> Html:
    """The section."""
    strategy = material.part("strategy")
    missing = say(
        "No plan yet: it needs customers, offers with their costs, and a budget; then run `aimwell round`."
    )
    cards = [
        _make_tiles(strategy, material),
        _make_frontier(strategy, material),
        _make_constraints(strategy, material),
        _make_actions(strategy, material),
        _make_arms(strategy, material),
        _make_examples(strategy),
        _make_left_out(strategy, material),
    ]
    return make_section(
        "strategy",
        4,
        say("Strategy"),
        say("Who gets which offer through which channel, what the budget buys, and what each limit costs."),
        *(cards if strategy else ()),
        make_lacks(strategy, missing),
    )


def _make_tiles(strategy: Mapping[str, Any], material: Material) -> Html:
    expected = read_figure(strategy.get("expected_profit"))
    cost, budget = read_number(strategy.get("cost")), read_number(strategy.get("budget"))
    bound = read_number(strategy.get("upper_bound"))
    label = make_simulated() if material.simulated else None
    under, spent = None, None
    if expected:
        under = make("span", show_interval(expected, "money", material.currency), " ", show_sample(expected))
    if budget is not None:
        spent = fill(say("of a budget of {amount}"), amount=show(budget, "money", material.currency))
    best = fill(say("no plan can earn more than {amount}"), amount=show(bound, "money", material.currency))
    audience = read_number(strategy.get("audience"))
    return make(
        "div",
        make_tile(
            say("Expected profit"),
            show(expected.estimate if expected else None, "money", material.currency, signed=True),
            under,
            tone=find_tone(expected),
            label=label,
        ),
        make_tile(say("Cost"), show(cost, "money", material.currency), spent),
        make_tile(
            say("Customers chosen"),
            show(read_number(strategy.get("chosen")), "count", material.currency),
            say("of {count} in the audience", count=f"{audience:,.0f}") if audience is not None else None,
        ),
        make_tile(
            say("Certified gap"),
            show(read_number(strategy.get("gap")), "percent", material.currency),
            best if bound is not None else None,
        ),
        class_="kpis four span-12",
    )


def _make_frontier(strategy: Mapping[str, Any], material: Material) -> Html:
    names = ("budget", "profit", "upper_bound", "lower", "upper")
    rows = read_rows(strategy.get("frontier"))
    points = sorted(read_pairs([[row.get(name) for name in names[:2]] for row in rows]))
    bounds = sorted(read_pairs([[row.get("budget"), row.get("upper_bound")] for row in rows]))
    band = sorted(read_pairs([[row.get("budget"), row.get("lower"), row.get("upper")] for row in rows], 3))
    expected = read_figure(strategy.get("expected_profit"))
    budget = read_number(strategy.get("budget"))
    place = budget if budget is not None else read_number(strategy.get("cost"))
    marks = []
    if expected and place is not None:
        marks.append(Mark(place, expected.estimate, make_both(say("today's plan")), "amber"))
    lines = [Line(make_both(say("expected profit")), points, "accent", dots=len(points) < 12)]
    if bounds:
        lines.append(Line(make_both(say("proven upper bound")), bounds, "quiet", dashed=True))
    chart = Curves(
        Axis(make_both(say("budget")), "money", 0),
        Axis(make_both(say("expected profit")), "money"),
        lines,
        [Band(make_both(say("95% interval")), band)] if len(band) > 1 and is_rising(band) else [],
        marks,
    )
    body = make_chart(
        chart, say("Expected profit by budget, with today's plan"), currency=material.currency, height="tall"
    )
    note = say("Where the curve flattens, more budget buys nothing more.")
    return make_card(say("What the budget buys"), body, span=7, simulated=material.simulated, note=note)


def _make_constraints(strategy: Mapping[str, Any], material: Material) -> Html:
    items = [_make_constraint(row, material) for row in read_rows(strategy.get("constraints"))]
    body = make("ul", *items, class_="limits-list") if items else make_quiet(say("No limit is set."))
    note = say("What one more unit of each limit would earn.")
    return make_card(say("Limits and their shadow prices"), body, span=5, note=note)


def _make_constraint(row: Mapping[str, Any], material: Material) -> Html:
    limit, used = read_number(row.get("limit")), read_number(row.get("used"))
    unit = "money" if str(row.get("unit")) in ("money", "currency", material.currency) else "count"
    kept = row.get("kept")
    verdict = make_pill(say("kept"), "gain") if kept else make_pill(say("broken"), "loss")
    amounts = [
        show(value, "money" if unit == "money" else "count", material.currency) for value in (used, limit)
    ]
    sign = "≥" if str(row.get("sense")) in (">=", "≥", "at_least", "minimum") else "/"
    line = make("span", amounts[0], f" {sign} ", amounts[1], class_="amounts")
    share = used / limit if used is not None and limit else 0.0
    return make(
        "li",
        make(
            "div",
            make("b", read_text(row.get("title"), row.get("id") or "—")),
            verdict if isinstance(kept, bool) else None,
            line,
            class_="row",
        ),
        make_meter(share, "amber" if (read_number(row.get("shadow_price")) or 0) > 0 else "accent"),
        make("p", read_text(row.get("sentence"))),
    )


def _make_actions(strategy: Mapping[str, Any], material: Material) -> Html:
    rows = sorted(
        read_rows(strategy.get("by_action")), key=lambda row: -(read_number(row.get("customers")) or 0)
    )
    shown = rows[:12]
    chart = Bars(
        [read_text(row.get("title"), row.get("action_id") or "—") for row in shown],
        [
            BarSeries(make_both(say("expected profit")), [_read_profit(row) for row in shown], "gain"),
            BarSeries(make_both(say("cost")), [read_number(row.get("cost")) for row in shown], "amber"),
        ],
        Axis(make_both(say("money")), "money"),
    )
    table = make_table(
        [say("Action"), say("Channel"), say("Customers"), say("Expected profit"), say("Cost")],
        [_list_action(row, material.currency) for row in rows],
        names=2,
    )
    height = "tall" if len(shown) > 5 else "medium"
    body = make_chart(
        chart, say("Expected profit and cost by action"), currency=material.currency, height=height
    )
    return make_card(
        say("Plan by action"),
        make("div", body, table if rows else None, class_="halves"),
        span=12,
        simulated=material.simulated,
    )


def _read_profit(row: Mapping[str, Any]) -> float | None:
    figure = read_figure(row.get("expected_profit"))
    return figure.estimate if figure else None


def _list_action(row: Mapping[str, Any], currency: str) -> list[Child]:
    return [
        read_text(row.get("title"), row.get("action_id") or "—"),
        name_channel(row.get("channel")),
        show(read_number(row.get("customers")), "count", currency),
        show_effect(read_figure(row.get("expected_profit")), "money", currency),
        show(read_number(row.get("cost")), "money", currency),
    ]


def name_channel(name: object) -> Both:
    """A channel in both languages."""
    known = {"email": say("e-mail"), "sms": say("SMS"), "call": say("call"), "mail": say("direct mail")}
    return make_both(known.get(str(name), str(name or "—")))


def _make_arms(strategy: Mapping[str, Any], material: Material) -> Html:
    arms = read_map(strategy.get("arms"))
    names = {"treatment": say("treatment"), "control": say("control"), "holdout": say("holdout")}
    tones = {"treatment": "accent", "control": "quiet", "holdout": "pale"}
    parts = [(names[name], _count_arm(arms.get(name)), tones[name]) for name in names]
    note = say("Drawn before launch: the control group is what tells what the plan causes.")
    return make_card(say("Treatment, control, holdout"), make_split(parts), span=12, note=note)


def _count_arm(value: object) -> float:
    for number in (read_number(value), read_number(read_map(value).get("customers"))):
        if number is not None:
            return number
    return 0.0


def _make_examples(strategy: Mapping[str, Any]) -> Html:
    rows: list[list[Child]] = [
        [
            make("code", str(row.get("customer_id", "—"))),
            make("code", str(row.get("action_id") or "—")),
            read_text(row.get("reason"), "—"),
            read_text(row.get("why_not"), "—"),
        ]
        for row in read_rows(strategy.get("examples"))[:8]
    ]
    head = [say("Customer"), say("Action"), say("Why this"), say("Why nothing else")]
    body = make_table(head, rows, names=4) if rows else make_quiet(say("Nobody was chosen."))
    return make_card(say("Why these customers"), body, span=12)


def _make_left_out(strategy: Mapping[str, Any], material: Material) -> Html:
    rows = read_rows(strategy.get("left_out"))
    if not rows:
        return Html("")
    facts: list[tuple[Child, Child]] = [
        (
            read_text(row.get("title"), row.get("segment") or "—"),
            join(
                show(read_number(row.get("customers")), "count", material.currency),
                make("small", " ", show(read_number(row.get("share")), "percent", material.currency)),
            ),
        )
        for row in rows[:12]
    ]
    note = say("Customers who get nothing, by segment: contacting them would cost more than it brings.")
    return make_card(say("Left in peace"), make_facts(facts), span=12, note=note)
