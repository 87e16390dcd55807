"""The plan in detail: by action, by arm, the reasons for some customers, and who is left in peace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aimwell.core.text import say
from aimwell.report.charts import Axis, Bars, BarSeries
from aimwell.report.figures import show, show_effect
from aimwell.report.markup import Both, Child, Html, join, make, make_both
from aimwell.report.parts import make_card, make_chart, make_facts, make_quiet, make_split, make_table
from aimwell.report.reading import Material, read_figure, read_map, read_number, read_rows, read_text


def make_plan_actions(strategy: Mapping[str, Any], material: Material) -> Html:
    """Expected profit and cost by action."""
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


def make_arms(strategy: Mapping[str, Any], material: Material) -> Html:
    """How many were drawn for each arm."""
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


def make_examples(strategy: Mapping[str, Any], material: Material) -> Html:
    """A few customers, and the reason for what each gets."""
    titles = {
        str(row.get("action_id")): read_text(row.get("title"), row.get("action_id"))
        for row in read_rows(strategy.get("by_action"))
    }
    rows: list[list[Child]] = [
        [
            make("code", str(row.get("customer_id", "—"))),
            titles.get(str(row.get("action_id"))) or str(row.get("action_id") or "—"),
            read_text(row.get("reason"), "—"),
            read_text(row.get("why_not"), "—"),
        ]
        for row in read_rows(strategy.get("examples"))[:8]
    ]
    head = [say("Customer"), say("Action"), say("Why this"), say("Why nothing else")]
    body = make_table(head, rows, names=4) if rows else make_quiet(say("Nobody was chosen."))
    return make_card(say("Why these customers"), body, span=12, simulated=material.simulated)


def make_left_out(strategy: Mapping[str, Any], material: Material) -> Html:
    """Who gets nothing, by segment; nothing where nobody is left out."""
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
    return make_card(say("Left in peace"), make_facts(facts, "columns"), span=12, note=note)
