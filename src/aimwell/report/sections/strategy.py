"""Section 4: the plan: what each customer gets, what the budget buys, and what the limits cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aimwell.core.text import say
from aimwell.report.charts import Axis, Band, Curves, Line, Mark, is_rising
from aimwell.report.figures import find_tone, show, show_interval, show_sample
from aimwell.report.markup import Child, Html, fill, make, make_both
from aimwell.report.parts import (
    make_card,
    make_chart,
    make_lacks,
    make_meter,
    make_pill,
    make_quiet,
    make_section,
    make_simulated,
    make_tile,
)
from aimwell.report.reading import (
    Material,
    explores,
    read_number,
    read_pairs,
    read_promise,
    read_rows,
    read_text,
)
from aimwell.report.sections.plan import (
    make_arms,
    make_basis,
    make_examples,
    make_left_out,
    make_plan_actions,
)
from aimwell.report.sections.rounds import tell_exploring


def make_strategy(material: Material) -> Html:
    """The section."""
    strategy = material.part("strategy")
    missing = say(
        "No plan yet: it needs customers, offers with their costs, and a budget; then run `aimwell round`."
    )
    drawn = not explores(strategy) or bool(strategy.get("frontier"))
    cards = [
        _make_tiles(strategy, material),
        _make_frontier(strategy, material) if drawn else Html(""),
        _make_constraints(strategy, material, span=5 if drawn else 12),
        make_plan_actions(strategy, material),
        make_arms(strategy, material),
        make_basis(strategy, material),
        make_examples(strategy, material),
        make_left_out(strategy, material),
    ]
    return make_section(
        "strategy",
        4,
        say("Strategy"),
        say("Who gets which offer through which channel, what the budget buys, and what each limit costs."),
        *(cards if material.has("strategy") else ()),
        make_lacks(strategy, missing),
    )


def _make_tiles(strategy: Mapping[str, Any], material: Material) -> Html:
    expected = read_promise(strategy, {})
    cost, budget = read_number(strategy.get("cost")), read_number(strategy.get("budget"))
    bound = read_number(strategy.get("upper_bound"))
    label = make_simulated() if material.simulated else None
    under: Child = tell_exploring() if explores(strategy) else None
    spent = None
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
    expected = read_promise(strategy, {})
    budget = read_number(strategy.get("budget"))
    place = budget if budget is not None else read_number(strategy.get("cost"))
    marks = [
        Mark(point[0], point[1], make_both(say("today's plan")), "amber")
        for point in read_pairs(
            [[row.get("budget"), row.get("profit")] for row in rows if row.get("today") is True]
        )
    ]
    if not marks and expected and place is not None:
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
    note = say("As if all chosen were treated. Where the curve flattens, more budget buys nothing more.")
    return make_card(say("What the budget buys"), body, span=7, simulated=material.simulated, note=note)


def _make_constraints(strategy: Mapping[str, Any], material: Material, *, span: int) -> Html:
    items = [_make_constraint(row, material) for row in read_rows(strategy.get("constraints"))]
    body = make("ul", *items, class_="limits-list") if items else make_quiet(say("No limit is set."))
    note = say("What one more unit of each limit would earn.")
    return make_card(
        say("Limits and their shadow prices"), body, span=span, simulated=material.simulated, note=note
    )


def _make_constraint(row: Mapping[str, Any], material: Material) -> Html:
    limit, used = read_number(row.get("limit")), read_number(row.get("used"))
    money = str(row.get("unit")) in ("money", "currency", material.currency)
    kept = row.get("kept")
    verdict = make_pill(say("kept"), "gain") if kept else make_pill(say("broken"), "loss")
    if str(row.get("unit")) == "percent":
        shares = [None if value is None else value / 100 for value in (used, limit)]
        amounts = [show(share, "percent", material.currency) for share in shares]
    else:
        amounts = [show(value, "money" if money else "count", material.currency) for value in (used, limit)]
    sign = "≥" if str(row.get("sense")) in (">=", "at_least") else "/"
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
